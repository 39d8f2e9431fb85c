"""The suite behind benches/run: it starts servers, sends crowds at them, and writes down what came of it."""

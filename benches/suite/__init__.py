"""The suite behind benches/run: it starts servers, sends crowds to them, and writes the results."""

//! The program: parses the command line, reads the settings, runs what was asked for.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use flash_sale::cli::{Command, CommandLine};
use flash_sale::config::Config;
use flash_sale::signals::Signals;
use flash_sale::{logging, rehearse, serve};

/// A purchase is allocated by the thread that reads it and freed by the one that commits it: the C library's allocator
/// makes them wait for each other, a fifth of the server's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the program waits, once all is done, for a name that is still being looked up, in milliseconds: the system's
/// resolver cannot be interrupted, and takes minutes where there is no name service.
const LOOKUPS_MS_MAX: u64 = 500;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &error),
    };
    let code = runtime.block_on(run());
    runtime.shutdown_timeout(Duration::from_millis(LOOKUPS_MS_MAX));
    code
}

async fn run() -> ExitCode {
    let CommandLine { command } = CommandLine::parse();
    let config = match Config::from_environment() {
        Ok(config) => config,
        Err(error) => return fail(2, &error),
    };
    logging::start(&config);
    let mut end = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(1, &error),
    };
    match command.unwrap_or(Command::Serve { end_with: None }) {
        Command::Serve { end_with } => match serve::run(config, &mut end, end_with).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(reason) => fail(1, &reason),
        },
        Command::Rehearse(arguments) => {
            let result = rehearse::run(&arguments, &config, &mut end).await;
            result.unwrap_or_else(|error| fail(error.exit_code(), &error))
        }
    }
}

fn fail(code: u8, reason: &dyn std::fmt::Display) -> ExitCode {
    // Not `eprintln`: whoever reads this may have gone away, and the code still tells.
    drop(writeln!(io::stderr(), "flash-sale: {reason}"));
    ExitCode::from(code)
}

//! The program: parses the command line, reads the settings, runs the command.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use flash_sale::cli::{Command, CommandLine};
use flash_sale::config::Config;
use flash_sale::signals::Signals;
use flash_sale::{admin, logging, rehearse, serve, verify};

/// One thread allocates a purchase when it reads it, another frees it after the commit. With the C library's allocator
/// such threads wait for each other for a fifth of the server's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the program waits at its end for a name lookup that is still running, in milliseconds: the system's
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
        Command::Serve { end_with } => match Box::pin(serve::run(config, &mut end, end_with)).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(reason) => fail(1, &reason),
        },
        Command::Rehearse(arguments) => {
            let result = rehearse::run(&arguments, &config, &mut end).await;
            result.unwrap_or_else(|error| fail(error.exit_code(), &error))
        }
        Command::Admin { command } => match admin::run(command, &config, &mut end).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(error.exit_code(), &error),
        },
        Command::Verify(arguments) => {
            let result = verify::run(&arguments, &config, &mut end).await;
            result.unwrap_or_else(|error| fail(error.exit_code(), &error))
        }
    }
}

fn fail(code: u8, reason: &dyn std::fmt::Display) -> ExitCode {
    // Not `eprintln`, which panics if standard error is closed: the exit code must still get out.
    drop(writeln!(io::stderr(), "flash-sale: {reason}"));
    ExitCode::from(code)
}

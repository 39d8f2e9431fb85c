//! The program: parses the command line, reads the settings, runs the server, ends it on Ctrl-C or SIGTERM.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use flash_sale::command_line::{Command, CommandLine};
use flash_sale::config::Config;
use flash_sale::server::Server;
use flash_sale::signals::Signals;
use flash_sale::{logging, rehearse, welcome};

/// A purchase is allocated by the thread that reads it and freed by the one that commits it: the C library's allocator
/// makes them wait for each other, a fifth of the server's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
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
        Command::Serve { end_with } => match end_with.map_or(Ok(()), |parent| end.follow(parent)) {
            Ok(()) => serve(config, &mut end).await,
            Err(error) => fail(1, &error),
        },
        Command::Rehearse(arguments) => {
            let result = rehearse::run(&arguments, &config, &mut end).await;
            result.unwrap_or_else(|error| fail(error.exit_code(), &error))
        }
    }
}

async fn serve(config: Config, end: &mut Signals) -> ExitCode {
    let server = tokio::select! {
        server = Server::start(config) => match server {
            Ok(server) => server,
            Err(error) => return fail(1, &error),
        },
        _ = end.next() => return ExitCode::SUCCESS,
    };
    // Not `println`: whoever reads this may have gone away.
    drop(std::io::stdout().write_all(welcome::text(&server).as_bytes()));
    let failure = tokio::select! {
        _ = end.next() => None,
        reason = server.failed() => Some(reason),
    };
    tracing::info!("shutting down; a second signal ends at once");
    tokio::select! {
        () = server.stop() => {}
        _ = end.next() => return fail(1, &"ended at once"),
    }
    failure.map_or(ExitCode::SUCCESS, |reason| fail(1, &reason))
}

fn fail(code: u8, reason: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("flash-sale: {reason}");
    ExitCode::from(code)
}

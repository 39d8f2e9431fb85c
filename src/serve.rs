//! `flash-sale serve`: runs a server until a signal ends it.

use std::io::Write;

use crate::config::Config;
use crate::server::Server;
use crate::signals::Signals;
use crate::welcome;

/// Runs a server until the first signal, or until the parent process ends if `end_with` has its id.
///
/// # Errors
/// Why the server could not start or go on, or that a second signal came while it was stopping.
pub async fn run(mut config: Config, end: &mut Signals, end_with: Option<u32>) -> Result<(), String> {
    if let Some(parent) = end_with {
        end.follow(parent).map_err(|error| error.to_string())?;
        // A program reads the greeting, so nobody would see the new admin's password.
        config.makes_up_admin = false;
    }
    let server = tokio::select! {
        server = Server::start(config) => server.map_err(|error| error.to_string())?,
        _ = end.next() => return Ok(()),
    };
    // Not `println`, which panics if standard output is closed.
    drop(std::io::stdout().write_all(welcome::text(&server).as_bytes()));
    let failure = tokio::select! {
        _ = end.next() => None,
        reason = server.failed() => Some(reason),
    };
    tracing::info!("shutting down; a second signal ends at once");
    tokio::select! {
        () = server.stop() => failure.map_or(Ok(()), Err),
        _ = end.next() => Err("ended at once by a second signal".into()),
    }
}

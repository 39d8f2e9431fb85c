//! `flash-sale serve`: a server from its start to a signal that ends it.

use std::io::Write;

use crate::config::Config;
use crate::server::Server;
use crate::signals::Signals;
use crate::welcome;

/// Runs a server until the first signal; with `end_with`, also until the process of that id, which has started this one, has
/// ended.
///
/// # Errors
/// Why it could not start or go on, or that a second signal came while it was stopping.
pub async fn run(mut config: Config, end: &mut Signals, end_with: Option<u32>) -> Result<(), String> {
    if let Some(parent) = end_with {
        end.follow(parent).map_err(|error| error.to_string())?;
        // Its greeting is read by a program, and with it the password would be lost.
        config.makes_up_admin = false;
    }
    let server = tokio::select! {
        server = Server::start(config) => server.map_err(|error| error.to_string())?,
        _ = end.next() => return Ok(()),
    };
    // Not `println`: whoever reads this may have gone away.
    drop(std::io::stdout().write_all(welcome::text(&server).as_bytes()));
    let failure = tokio::select! {
        _ = end.next() => None,
        reason = server.failed() => Some(reason),
    };
    tracing::info!("shutting down; a second signal ends at once");
    tokio::select! {
        () = server.stop() => failure.map_or(Ok(()), Err),
        _ = end.next() => Err("ended at once".into()),
    }
}

//! What can be typed after `flash-sale`, and what `--help` says.

use clap::{Parser, Subcommand};

use crate::config::{SETTINGS, Setting};
use crate::rehearse::Arguments;

/// Sells limited stock to a crowd that arrives in the same second.
///
/// Without any settings the server runs a MongoDB of its own, makes up an admin, and prints how to try it.
#[derive(Parser)]
#[command(version, after_help = after_help())]
pub struct CommandLine {
    /// What to do; without one, run the server.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The settings with their defaults, and the exit codes.
fn after_help() -> String {
    let mut text =
        "Settings (environment, or .env in the working directory), with their defaults:\n".to_owned();
    for Setting { name, default, meaning } in &SETTINGS {
        let default = default.map(|default| format!("={default}")).unwrap_or_default();
        text += &format!("  {:<29} {meaning}\n", format!("{name}{default}"));
    }
    text + EXIT_CODES
}

const EXIT_CODES: &str = "
Exit codes: 0 stopped in order, 1 could not start or go on, 2 wrong usage or settings; `rehearse --help` tells its own.";

const REHEARSE_AFTER_HELP: &str = "\
Exit codes:
  0    every promise was kept
  1    a promise was broken
  2    wrong usage or settings
  3    the rehearsal could not be held (no such server, other settings than the server's, no database), or something of
       it could not be removed or written
  130  interrupted";

/// What the program can do.
#[derive(Subcommand)]
pub enum Command {
    /// Run the server (the default).
    Serve {
        /// End in order as soon as the parent, which is this process, has ended
        #[arg(long, hide = true)]
        end_with: Option<u32>,
    },
    /// Rehearse a sale: a crowd buys marked products, which are removed afterwards.
    ///
    /// The settings (MONGO_URI, JWT_SECRET or DATA_DIR) have to be those of the server: they are what the buyers' tokens
    /// are signed with, and where the outcome is read back.
    ///
    /// Ctrl-C, SIGTERM or the end of its terminal stops it at any time, and what was made is removed; a second signal ends
    /// it at once.
    #[command(after_help = REHEARSE_AFTER_HELP)]
    Rehearse(Arguments),
}

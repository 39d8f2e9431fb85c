//! What can be typed after `flash-sale`, and what `--help` says.

use clap::{Parser, Subcommand};

use crate::admin;
use crate::config::{SETTINGS, Setting};
use crate::rehearse::Arguments;
use crate::verify;

/// Sells limited stock to a crowd that arrives in the same second.
///
/// Without any settings the server runs its own MongoDB, creates an admin, and prints commands to try it.
#[derive(Parser)]
#[command(version, after_help = after_help())]
pub struct CommandLine {
    /// What to do; `None` runs the server.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The settings with their defaults, and the exit codes.
fn after_help() -> String {
    let mut text =
        "Settings (environment, or .env in the working directory), with their defaults:\n".to_owned();
    for Setting { name, default, meaning } in SETTINGS {
        let default = default.map(|default| format!("={default}")).unwrap_or_default();
        text += &format!("  {:<29} {meaning}\n", format!("{name}{default}"));
    }
    text + EXIT_CODES
}

const EXIT_CODES: &str = "
Exit codes: 0 stopped in order, 1 could not start or go on, 2 wrong usage or settings; `rehearse --help`,
`verify --help` and `admin --help` have their own.";

const ADMIN_AFTER_HELP: &str = "\
The password is read from the terminal, or from standard input if that is none. It is never an argument:

  flash-sale admin create ada@shop.example
  printf %s \"$PASSWORD\" | flash-sale admin promote ada@shop.example

Exit codes:
  0    done
  1    not done: no such address, a taken one, no database
  2    wrong usage, settings or password
  130  interrupted";

const REHEARSE_AFTER_HELP: &str = "\
Exit codes:
  0    every promise was kept
  1    a promise was broken
  2    wrong usage or settings
  3    the rehearsal could not be held (no server at this address, other settings than the server's, no database), or
       what it made could not be removed or its result could not be written
  130  interrupted";

const VERIFY_AFTER_HELP: &str = "\
Exit codes:
  0    everything adds up
  1    something does not
  2    wrong usage or settings, or the books cannot be read
  130  interrupted";

/// What the program can do.
#[derive(Subcommand)]
pub enum Command {
    /// Run the server (the default).
    Serve {
        /// End in order as soon as the process with this id, which must be the parent, has ended
        #[arg(long, hide = true)]
        end_with: Option<u32>,
    },
    /// Rehearse a sale: a crowd buys marked products, which are removed afterwards.
    ///
    /// The settings (MONGO_URI, JWT_SECRET or DATA_DIR) have to be those of the server: the rehearsal signs the buyers'
    /// tokens with its secret, and reads the outcome from its database.
    ///
    /// Ctrl-C, SIGTERM or closing the terminal stops it at any time; it then removes what it has created. A second
    /// signal ends it at once.
    #[command(after_help = REHEARSE_AFTER_HELP)]
    Rehearse(Arguments),
    /// Create an admin, or make an existing account an admin's.
    ///
    /// The settings (MONGO_URI, or DATA_DIR for the embedded MongoDB) have to be those of the server, which may run
    /// meanwhile or not.
    #[command(after_help = ADMIN_AFTER_HELP)]
    Admin {
        /// What to do.
        #[command(subcommand)]
        command: admin::Command,
    },
    /// Read the books and say what does not add up.
    ///
    /// Compares every product with its purchases and with the audit log: units, sequence numbers, times, limits, and each step of
    /// a purchase that was paid for, canceled, expired or refunded. It only reads,
    /// also while the sale goes on: at one snapshot, or at several where MongoDB does not keep the first one long enough (it
    /// ends a transaction after a minute). Each finding is one line.
    ///
    /// The settings (MONGO_URI or DATA_DIR) have to be those of the server.
    #[command(after_help = VERIFY_AFTER_HELP)]
    Verify(verify::Arguments),
}

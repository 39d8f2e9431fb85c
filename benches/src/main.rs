//! The programs that measure flash-sale: rival servers, crowds, watchers, and a history of millions of purchases.
//!
//! `benches/run` combines them into scenarios. Every subcommand prints its result as JSON on standard output.

#![warn(clippy::unwrap_used)]

use std::error::Error;
use std::ops::RangeInclusive;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod figures;
mod process;
mod target;

mod arrival;
mod buyers;
mod crowd;
mod logins;

mod rivals;

mod bare_batches;
mod bare_driver;
mod mongod;
mod opcounters;

mod payments;

mod history;

mod feed;
mod idle_connections;

/// The product's allocator, so that all servers that are compared use the same one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The outcome of a subcommand; an error is one sentence for the person who started it.
type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// The accepted durations, in seconds.
const DURATION_SECONDS: RangeInclusive<f64> = 0.1..=86_400.0;
/// The accepted request rates.
const RATE_PER_SECOND: RangeInclusive<f64> = 0.1..=1e7;
/// The accepted numbers of connections.
const CONNECTIONS: RangeInclusive<usize> = 1..=1_000_000;

/// Measures flash-sale and its rivals.
#[derive(Parser)]
#[command(version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Rival: stock in Redis, one Lua script per purchase
    RedisCounter(rivals::redis_counter::Arguments),
    /// Rival: one MongoDB transaction per purchase, retried on conflict
    TransactionPerRequest(rivals::transaction_per_request::Arguments),
    /// Yardstick: checks the token and answers the same bytes every time
    TokenOnly(rivals::token_only::Arguments),
    /// The product without its limits, to show what they are for
    UnboundedServer(rivals::unbounded::Arguments),
    /// Yardstick: the statements of one purchase at a time, straight through the driver
    BareDriver(bare_driver::Arguments),
    /// Yardstick: transactions of many purchases with the fewest statements, straight through the driver
    BareBatches(bare_batches::Arguments),
    /// Sends requests to any of the servers, in a closed or an open loop
    Crowd(crowd::Arguments),
    /// All buyers connect and buy at the same moment
    Arrival(arrival::Arguments),
    /// Logs in, with right and wrong passwords, at a constant rate
    Logins(logins::Arguments),
    /// Confirms every purchase of a product that is held
    Confirms(payments::confirms::Arguments),
    /// A sale in which most let go what they hold, until every unit is paid for
    GoingRound(payments::going_round::Arguments),
    /// Prints how late the purchases of a product expired
    Released(payments::released::Arguments),
    /// Fills a database with stored purchases
    History(history::Arguments),
    /// Opens connections and holds them
    IdleConnections(idle_connections::Arguments),
    /// Watches a product's events on many connections and counts them
    Watchers(feed::watchers::Arguments),
    /// Measures how long the news of a purchase takes to its watcher
    FeedLatency(feed::latency::Arguments),
    /// Prints a token
    Token(buyers::Arguments),
    /// Prints how many operations a mongod has executed
    Opcounters(opcounters::Arguments),
    /// Runs a mongod like the product's embedded one, until it is stopped
    Mongod(mongod::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let CommandLine { command } = CommandLine::parse();
    if let Err(error) = flash_sale::open_files::raise_limit() {
        eprintln!("the number of files that can be open at once stays as it is: {error}");
    }
    match run(command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flash-sale-benches: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Outcome {
    match command {
        Command::RedisCounter(arguments) => rivals::redis_counter::run(arguments).await,
        Command::TransactionPerRequest(arguments) => rivals::transaction_per_request::run(arguments).await,
        Command::TokenOnly(arguments) => rivals::token_only::run(arguments).await,
        Command::UnboundedServer(arguments) => rivals::unbounded::run(arguments).await,
        Command::BareDriver(arguments) => bare_driver::run(arguments).await,
        Command::BareBatches(arguments) => bare_batches::run(arguments).await,
        Command::Crowd(arguments) => crowd::run(arguments).await,
        Command::Arrival(arguments) => arrival::run(arguments).await,
        Command::Logins(arguments) => logins::run(arguments).await,
        Command::Confirms(arguments) => payments::confirms::run(arguments).await,
        Command::GoingRound(arguments) => payments::going_round::run(arguments).await,
        Command::Released(arguments) => payments::released::run(arguments).await,
        Command::History(arguments) => history::run(arguments).await,
        Command::IdleConnections(arguments) => idle_connections::run(arguments).await,
        Command::Watchers(arguments) => feed::watchers::run(arguments).await,
        Command::FeedLatency(arguments) => feed::latency::run(arguments).await,
        Command::Token(arguments) => buyers::run(&arguments),
        Command::Opcounters(arguments) => opcounters::run(arguments).await,
        Command::Mongod(arguments) => mongod::run(arguments).await,
    }
}

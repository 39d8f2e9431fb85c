//! `unbounded-server`: the product without the limits on its queues, waits and connections. Not for use: it shows,
//! under the same overload, what the limits are for.

use std::collections::HashMap;

use flash_sale::config::{Config, Limits};
use flash_sale::server::Server;
use flash_sale::signals::Signals;

use super::{Common, announce};
use crate::Outcome;

/// Far more than any measurement reaches.
const COUNT: usize = 100_000_000;
/// An hour, far longer than anybody waits.
const MS: u64 = 60 * 60 * 1000;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    /// The database, a replica set
    #[arg(long)]
    mongo_uri: String,
}

/// Serves until Ctrl-C or SIGTERM.
pub async fn run(arguments: Arguments) -> Outcome {
    let settings = [
        ("PORT", arguments.common.port.to_string()),
        ("MONGO_URI", arguments.mongo_uri),
        ("JWT_SECRET", arguments.common.secret),
    ];
    let settings: HashMap<_, _> =
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let mut config = Config::from_settings(&settings)?;
    lift(&mut config.limits);
    let mut end = Signals::listen()?;
    let server = Server::start(config).await?;
    announce(server.address());
    end.next().await;
    server.stop().await;
    Ok(())
}

/// Lifts the limits that keep waits short. The size of a batch stays: it is bounded by what a transaction can hold.
fn lift(limits: &mut Limits) {
    limits.http.connections_max = COUNT;
    limits.purchases.purchases_in_flight_max = COUNT;
    limits.purchases.estimated_wait_ms_max = MS;
    limits.purchases.lane_estimated_wait_ms_max = MS;
    limits.purchases.lanes_max = COUNT;
    limits.purchases.lane_queue_purchases_max = COUNT;
    limits.purchases.queue_wait_ms_max = MS;
    limits.purchases.batch_ms_max = MS;
    limits.store.reads_in_flight_max = COUNT;
    limits.store.sale_reads_in_flight_max = COUNT;
    limits.products.searches_in_flight_max = COUNT;
    limits.store.writes_in_flight_max = COUNT;
    limits.purchases.commits_in_flight_max = COUNT;
    limits.store.permit_wait_ms_max = MS;
    limits.store.read_ms_max = MS;
    limits.store.write_ms_max = MS;
    limits.accounts.password_hashes_in_flight_max = 64;
    limits.accounts.password_hashes_waiting_max = 100_000;
}

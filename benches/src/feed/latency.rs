//! `feed-latency`: how long after a purchase its watchers know of it, preferably on another server than the one that
//! sold.
//!
//! It counts from `purchasedAt`, the moment when the database took the unit from the stock, which is before the
//! commit; the time since the buyer's answer is shorter. The database and this program must share one machine's
//! clock.

use std::io::Write as _;
use std::time::{Duration, Instant};

use flash_sale::model::timestamp::Timestamp;
use flash_sale::rehearse::within;
use serde::Deserialize;
use serde_json::json;

use super::stream::Events;
use crate::figures::Latencies;
use crate::target::Target;
use crate::{DURATION_SECONDS, Outcome};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The server to watch
    #[arg(long)]
    url: Target,
    /// The id of the product
    #[arg(long)]
    product: String,
    /// Duration in seconds
    #[arg(long, default_value_t = 10.0, value_parser = within(DURATION_SECONDS), allow_negative_numbers = true)]
    duration: f64,
}

/// The part of the event's data that is measured.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bought {
    sequence: i64,
    purchased_at: Timestamp,
}

/// Prints one line when it watches, then what it saw.
pub async fn run(arguments: Arguments) -> Outcome {
    let mut events = Events::open(&arguments.url, &arguments.product, "?include=purchases").await?;
    println!("{}", json!({ "watching": 1 }));
    std::io::stdout().flush()?;
    let end = Instant::now() + Duration::from_secs_f64(arguments.duration);
    let (mut latencies, mut gaps, mut last) = (Vec::new(), 0_i64, None);
    while let Ok(event) = tokio::time::timeout_at(end.into(), events.next()).await {
        let event = event?.ok_or("the server ended the stream")?;
        let now = Timestamp::now_here();
        if event.name != "purchase" {
            continue;
        }
        let bought: Bought = serde_json::from_str(&event.data)?;
        gaps += i64::from(last.is_some_and(|last| bought.sequence != last + 1));
        last = Some(bought.sequence);
        let late_ms = now.milliseconds() - bought.purchased_at.milliseconds();
        latencies.push(Duration::from_millis(u64::try_from(late_ms).unwrap_or_default()));
    }
    let report = json!({ "gaps": gaps, "latencies": Latencies::of(latencies) });
    println!("{report}");
    Ok(())
}

//! `watchers`: a crowd that only watches. Counts the events that each watcher receives.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use flash_sale::rehearse::within;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::stream::Events;
use crate::process::resident_kibibytes;
use crate::target::Target;
use crate::{DURATION_SECONDS, Outcome};

/// Connections being opened at the same time: fewer than a listener's backlog.
const OPENING_MAX: usize = 100;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The server's address
    #[arg(long)]
    url: Target,
    /// The id of the product
    #[arg(long)]
    product: String,
    /// How many watchers
    #[arg(long, default_value_t = 10_000)]
    count: usize,
    /// How long they watch once all are connected, in seconds
    #[arg(long, default_value_t = 10.0, value_parser = within(DURATION_SECONDS), allow_negative_numbers = true)]
    duration: f64,
    /// Ask for the purchases as well
    #[arg(long)]
    purchases: bool,
    /// The process id of the server, on this machine, to report its memory
    #[arg(long)]
    pid: Option<u32>,
}

/// How many events of one kind each watcher received.
#[derive(Debug, Serialize)]
struct PerWatcher {
    total: u64,
    min: u64,
    median: u64,
    max: u64,
}

impl PerWatcher {
    fn of(mut counts: Vec<u64>) -> Self {
        counts.sort_unstable();
        Self {
            total: counts.iter().sum(),
            min: counts.first().copied().unwrap_or_default(),
            median: counts.get(counts.len() / 2).copied().unwrap_or_default(),
            max: counts.last().copied().unwrap_or_default(),
        }
    }
}

/// What one watcher received.
#[derive(Debug, Default)]
struct Seen {
    events: BTreeMap<String, u64>,
    /// The server ended it before its time, or an error did.
    ended_early: bool,
}

/// Opens all watchers and prints one line, then watches and prints what they received.
pub async fn run(arguments: Arguments) -> Outcome {
    let rss = || arguments.pid.and_then(resident_kibibytes);
    let before = rss();
    let query = if arguments.purchases { "?include=purchases" } else { "" };
    let target = Arc::new(arguments.url.clone());
    let opening = (0..arguments.count).map(|_| Events::open(&target, &arguments.product, query));
    let opened: Vec<_> = stream::iter(opening).buffer_unordered(OPENING_MAX).collect().await;
    let (stop, mut watching) = (CancellationToken::new(), JoinSet::new());
    let mut refused = BTreeMap::<String, usize>::new();
    for events in opened {
        match events {
            Ok(events) => drop(watching.spawn(watch(events, stop.clone()))),
            Err(error) => *refused.entry(error.to_string()).or_default() += 1,
        }
    }
    if watching.is_empty() {
        return Err(format!("nobody can watch: {refused:?}").into());
    }
    let open = rss();
    println!("{}", json!({ "watching": watching.len(), "rssBeforeKib": before, "rssWatchingKib": open }));
    std::io::stdout().flush()?;
    tokio::time::sleep(Duration::from_secs_f64(arguments.duration)).await;
    let busy = rss();
    stop.cancel();
    let seen = watching.join_all().await;
    let mut names: Vec<_> = seen.iter().flat_map(|seen| seen.events.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let counts =
        |name: &String| seen.iter().map(|seen| seen.events.get(name).copied().unwrap_or(0)).collect();
    let events: BTreeMap<_, _> =
        names.into_iter().map(|name| (name.clone(), PerWatcher::of(counts(name)))).collect();
    let report = json!({
        "watchers": seen.len(),
        "refused": refused,
        "endedEarly": seen.iter().filter(|seen| seen.ended_early).count(),
        "events": events,
        "rssBeforeKib": before,
        "rssWatchingKib": open,
        "rssBusyKib": busy,
    });
    println!("{report}");
    Ok(())
}

async fn watch(mut events: Events, stop: CancellationToken) -> Seen {
    let mut seen = Seen::default();
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => return seen,
            next = events.next() => next,
        };
        match next {
            Ok(Some(event)) => *seen.events.entry(event.name).or_default() += 1,
            Ok(None) | Err(_) => {
                seen.ended_early = true;
                return seen;
            }
        }
    }
}

//! `watchers`: a crowd that only looks. Counts what each of them gets to see.

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

/// Connections that are being opened at once: fewer than a listener's backlog.
const OPENING_MAX: usize = 100;

/// The options of `watchers`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The server
    #[arg(long)]
    url: Target,
    /// The product
    #[arg(long)]
    product: String,
    /// Watchers
    #[arg(long, default_value_t = 10_000)]
    count: usize,
    /// How long they watch once all of them do, in seconds
    #[arg(long, default_value_t = 10.0, value_parser = within(DURATION_SECONDS), allow_negative_numbers = true)]
    duration: f64,
    /// They also want the purchases
    #[arg(long)]
    purchases: bool,
    /// The server's process, on this machine, to tell its memory
    #[arg(long)]
    pid: Option<u32>,
}

/// How many events each watcher got of one kind.
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

/// What one watcher saw.
#[derive(Debug, Default)]
struct Seen {
    events: BTreeMap<String, u64>,
    /// The server, or an error, ended it before its time.
    ended_early: bool,
}

/// Opens, tells that all are open in a first line on standard output, watches, tells what was seen.
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

//! `arrival`: all buyers come at the same moment, and each must first open a connection. The other measurements leave
//! this out: their connections are open before the clock starts.

use std::time::{Duration, Instant};

use flash_sale::rehearse::wire::Connection;
use serde_json::json;
use tokio::task::JoinSet;

use crate::figures::Latencies;
use crate::target::Target;
use crate::{Outcome, buyers};

/// How long each of them waits.
const ANSWER_SECONDS_MAX: u64 = 60;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The server's address
    #[arg(long)]
    url: Target,
    /// The secret that signs tokens
    #[arg(long)]
    secret: String,
    /// The body of each purchase
    #[arg(long)]
    body: String,
    /// How many buyers come
    #[arg(long, default_value_t = 5_000)]
    count: usize,
}

/// Lets every buyer connect and buy; prints how long each took from the moment when all came.
pub async fn run(arguments: Arguments) -> Outcome {
    let target = &arguments.url;
    let mut arriving = JoinSet::new();
    let tokens = buyers::tokens(&arguments.secret, arguments.count, None)?;
    let write = |token| {
        let headers = format!("Authorization: Bearer {token}\r\n");
        target.request("POST", "/products/purchase", &headers, &arguments.body)
    };
    let requests: Vec<_> = tokens.into_iter().map(write).collect();
    let (address, start) = (target.address, Instant::now());
    for request in requests {
        arriving.spawn(async move {
            let buy = async { Connection::open(address).await?.exchange(&request).await };
            let answer = tokio::time::timeout(Duration::from_secs(ANSWER_SECONDS_MAX), buy).await;
            (answer.ok().and_then(Result::ok).map(|answer| answer.status), start.elapsed())
        });
    }
    let answered = arriving.join_all().await;
    let latencies = |wanted: &dyn Fn(Option<u16>) -> bool| {
        let chosen = answered.iter().filter(|(status, _)| wanted(*status));
        Latencies::of(chosen.map(|(_, latency)| *latency).collect())
    };
    let report = json!({
        "bought": latencies(&|status| status == Some(201)),
        "refused": latencies(&|status| status.is_some_and(|status| status != 201)),
        "unanswered": latencies(&|status| status.is_none()),
        "all": latencies(&|_| true),
    });
    println!("{report:#}");
    Ok(())
}

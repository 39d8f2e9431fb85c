//! The options of `crowd`.

use std::path::PathBuf;

use flash_sale::model::id::Id;
use flash_sale::rehearse::within;

use super::phase::Phase;
use crate::target::Target;
use crate::{CONNECTIONS, DURATION_SECONDS, Outcome, RATE_PER_SECOND};

/// As many as 198.18.0.0/15 has addresses, which is set aside for benchmarks.
const NETWORKS_MAX: i64 = 1 << 17;

#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The address of a server; several servers share the crowd evenly
    #[arg(long = "url", required = true)]
    pub urls: Vec<Target>,
    /// The request method
    #[arg(long, default_value = "POST")]
    pub method: String,
    /// The request path
    #[arg(long, default_value = "/products/purchase")]
    pub path: String,
    /// The request body, as JSON
    #[arg(long, default_value = "")]
    pub body: String,
    /// A file with one body per line, used in turn, instead of --body
    #[arg(long)]
    pub bodies: Option<PathBuf>,
    /// The entity tag that the clients send
    #[arg(long)]
    pub if_none_match: Option<String>,
    /// How many buyers, each with a token; 0 sends requests without a token
    #[arg(long, default_value_t = 0)]
    pub tokens: usize,
    /// Make all tokens this user's
    #[arg(long)]
    pub user: Option<Id>,
    /// The secret that the server signs tokens with
    #[arg(long, default_value = "")]
    pub secret: String,
    /// Send an Idempotency-Key with each buyer's requests
    #[arg(long)]
    pub keys: bool,
    /// Spread the buyers over so many networks, as a proxy would tell them; 0 tells of none
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=NETWORKS_MAX))]
    pub networks: u32,
    /// Let each buyer send once; otherwise the first comes again after the last
    #[arg(long)]
    pub once: bool,
    /// How many connections are open at once
    #[arg(long, default_value_t = 256, value_parser = within(CONNECTIONS), allow_negative_numbers = true)]
    pub connections: usize,
    /// Duration in seconds
    #[arg(long, default_value_t = 10.0, value_parser = within(DURATION_SECONDS), allow_negative_numbers = true)]
    pub duration: f64,
    /// Requests per second, whatever the answers (open loop; latency counts from the time when a request is due).
    /// Without it each connection sends its next request after the answer to the last (closed loop)
    #[arg(long, value_parser = within(RATE_PER_SECOND), allow_negative_numbers = true)]
    pub rate: Option<f64>,
    /// RATE:SECONDS[:CONNECTIONS], instead of --rate and --duration; several phases follow one another without a gap
    #[arg(long = "phase")]
    pub phases: Vec<Phase>,
    /// Answers within this time count as good, in milliseconds
    #[arg(long, default_value_t = 2_000)]
    pub goodput_ms: u64,
}

impl Arguments {
    pub fn phases(&self) -> Outcome<Vec<Phase>> {
        let mut phases = self.phases.clone();
        if phases.is_empty() {
            phases.push(Phase { rate: self.rate, seconds: self.duration, connections: 0 });
        }
        for phase in &mut phases {
            if phase.connections == 0 {
                phase.connections = self.connections;
            }
        }
        if self.tokens > 0 && self.secret.is_empty() {
            return Err("--tokens needs the --secret that the server verifies them with".into());
        }
        Ok(phases)
    }
}

//! What the crowd does.

use std::path::PathBuf;

use flash_sale::model::id::Id;
use flash_sale::rehearse::within;

use super::phase::Phase;
use crate::target::Target;
use crate::{CONNECTIONS, DURATION_SECONDS, Outcome, RATE_PER_SECOND};

/// The options of `crowd`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// A server; several share the crowd evenly
    #[arg(long = "url", required = true)]
    pub urls: Vec<Target>,
    /// What is asked for
    #[arg(long, default_value = "POST")]
    pub method: String,
    /// Where
    #[arg(long, default_value = "/products/purchase")]
    pub path: String,
    /// What is sent, as JSON
    #[arg(long, default_value = "")]
    pub body: String,
    /// A file with one body a line, used in turn, instead of --body
    #[arg(long)]
    pub bodies: Option<PathBuf>,
    /// The entity tag that the clients have
    #[arg(long)]
    pub if_none_match: Option<String>,
    /// Buyers, each with a token; without any, requests go without a token
    #[arg(long, default_value_t = 0)]
    pub tokens: usize,
    /// All tokens are this user's
    #[arg(long)]
    pub user: Option<Id>,
    /// What the server signs tokens with
    #[arg(long, default_value = "")]
    pub secret: String,
    /// Each buyer sends an Idempotency-Key
    #[arg(long)]
    pub keys: bool,
    /// Each buyer sends once; otherwise the first one comes again after the last
    #[arg(long)]
    pub once: bool,
    /// Connections that are open at once
    #[arg(long, default_value_t = 256, value_parser = within(CONNECTIONS), allow_negative_numbers = true)]
    pub connections: usize,
    /// How long, in seconds
    #[arg(long, default_value_t = 10.0, value_parser = within(DURATION_SECONDS), allow_negative_numbers = true)]
    pub duration: f64,
    /// Requests a second, whatever comes back (open loop; latency counts from the intended time). Without it each
    /// connection sends its next request when it has its answer (closed loop)
    #[arg(long, value_parser = within(RATE_PER_SECOND), allow_negative_numbers = true)]
    pub rate: Option<f64>,
    /// RATE:SECONDS[:CONNECTIONS], instead of --rate and --duration; several follow on one another at once
    #[arg(long = "phase")]
    pub phases: Vec<Phase>,
    /// An answer within this time is a good one, in milliseconds
    #[arg(long, default_value_t = 2_000)]
    pub goodput_ms: u64,
}

impl Arguments {
    /// The phases, at least one.
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

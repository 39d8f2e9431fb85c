//! What the person wants rehearsed.

use std::path::PathBuf;

use super::RehearsalError;

/// The options of `rehearse`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The running server to rehearse against, like http://127.0.0.1:3000; without it one is started for the rehearsal
    #[arg(long)]
    pub url: Option<String>,
    /// Buyers in the crowd, each with a token of its own
    #[arg(long, default_value_t = 20_000)]
    pub buyers: usize,
    /// Units of each product
    #[arg(long, default_value_t = 10_000)]
    pub stock: u32,
    /// Connections that are open at once
    #[arg(long, default_value_t = 256)]
    pub connections: usize,
    /// Products; the buyers go to each in turn
    #[arg(long, default_value_t = 1)]
    pub products: usize,
    /// Requests a second, sent on time whether or not the answers come (open loop; latency counts from the intended
    /// time). Without it each connection sends its next request when it has its answer (closed loop)
    #[arg(long)]
    pub rate: Option<f64>,
    /// The share of buyers, 0 to 1, who send twice: half of them with the same idempotency key, half without a key
    #[arg(long, default_value_t = 0.02)]
    pub repeat_share: f64,
    /// The longest time that the crowd buys, in seconds
    #[arg(long, default_value_t = 60)]
    pub duration: u64,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Write a plot of rate and latency over time to this file (SVG)
    #[arg(long)]
    pub plot: Option<PathBuf>,
}

/// A token and a request take about a kilobyte, and all are made beforehand.
const BUYERS_MAX: usize = 5_000_000;
const CONNECTIONS_MAX: usize = 50_000;
const PRODUCTS_MAX: usize = 10_000;

impl Arguments {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// What it is.
    pub fn check(&self) -> Result<(), RehearsalError> {
        let problem = if !(1..=BUYERS_MAX).contains(&self.buyers) {
            format!("--buyers has to be 1 to {BUYERS_MAX}")
        } else if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            format!("--connections has to be 1 to {CONNECTIONS_MAX}")
        } else if !(1..=PRODUCTS_MAX).contains(&self.products) {
            format!("--products has to be 1 to {PRODUCTS_MAX}")
        } else if self.rate.is_some_and(|rate| !(0.1..=1e7).contains(&rate)) {
            "--rate has to be 0.1 to 10000000".to_owned()
        } else if !(0.0..=1.0).contains(&self.repeat_share) {
            "--repeat-share has to be 0 to 1".to_owned()
        } else if self.stock > 1_000_000_000 {
            "--stock has to be at most 1000000000".to_owned()
        } else {
            return Ok(());
        };
        Err(RehearsalError(problem))
    }
}

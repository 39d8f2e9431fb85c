//! What the person wants rehearsed.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use super::origin::Origin;

/// A token and a request take about a kilobyte, and all are made beforehand.
const BUYERS_MAX: usize = 5_000_000;
const CONNECTIONS_MAX: usize = 50_000;
const PRODUCTS_MAX: usize = 10_000;
const STOCK_MAX: u32 = 1_000_000_000;
/// The products are on sale for a day.
const DURATION_SECONDS_MAX: u64 = 12 * 60 * 60;

/// The options of `rehearse`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The running server to rehearse against, like http://127.0.0.1:3000; without it one is started for the rehearsal.
    /// It is spoken to in plain HTTP: of a server that has HTTPS from a proxy, give the address behind the proxy
    #[arg(long, value_parser = Origin::parse)]
    pub url: Option<Origin>,
    /// Buyers in the crowd, each with a token of its own
    #[arg(long, default_value_t = 20_000, value_parser = within(1..=BUYERS_MAX), allow_negative_numbers = true)]
    pub buyers: usize,
    /// Units of each product
    #[arg(long, default_value_t = 10_000, value_parser = within(0..=STOCK_MAX), allow_negative_numbers = true)]
    pub stock: u32,
    /// Connections that are open at once
    #[arg(long, default_value_t = 256, value_parser = within(1..=CONNECTIONS_MAX), allow_negative_numbers = true)]
    pub connections: usize,
    /// Products; the buyers go to each in turn
    #[arg(long, default_value_t = 1, value_parser = within(1..=PRODUCTS_MAX), allow_negative_numbers = true)]
    pub products: usize,
    /// Requests a second, sent on time whether or not the answers come (open loop; latency counts from the intended
    /// time). Without it each connection sends its next request when it has its answer (closed loop)
    #[arg(long, value_parser = within(0.1..=1e7), allow_negative_numbers = true)]
    pub rate: Option<f64>,
    /// The share of buyers, 0 to 1, who send twice: half of them with the same idempotency key, half without a key
    #[arg(long, default_value_t = 0.02, value_parser = within(0.0..=1.0), allow_negative_numbers = true)]
    pub repeat_share: f64,
    /// The longest time that the crowd buys, in seconds
    #[arg(long, default_value_t = 60, value_parser = within(1..=DURATION_SECONDS_MAX), allow_negative_numbers = true)]
    pub duration: u64,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Write a plot of rate and latency over time to this file (SVG)
    #[arg(long)]
    pub plot: Option<PathBuf>,
}

/// Reads a number of the command line and refuses what is out of range; not a number is out of every range.
pub fn within<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + Display + Clone,
{
    move |text| {
        let value = text.parse().ok().filter(|value| range.contains(value));
        value.ok_or_else(|| format!("it has to be {} to {}", range.start(), range.end()))
    }
}

//! The command line of `rehearse`.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use super::origin::Origin;

/// A token and its request take about a kilobyte, and all are made beforehand.
const BUYERS_MAX: usize = 5_000_000;
const CONNECTIONS_MAX: usize = 50_000;
const PRODUCTS_MAX: usize = 10_000;
const STOCK_MAX: u32 = 1_000_000_000;
/// Half of the day for which the products are on sale.
const DURATION_SECONDS_MAX: u64 = 12 * 60 * 60;

/// The longest payment window that a product may have.
const WINDOW_SECONDS_MAX: i64 = 86_400;

/// The options of `rehearse`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The running server to rehearse against, like http://127.0.0.1:3000; without it the rehearsal starts one. It
    /// must speak plain HTTP: if a proxy adds HTTPS, give the address of the server behind the proxy
    #[arg(long, value_parser = Origin::parse)]
    pub url: Option<Origin>,
    /// Buyers in the crowd, each with its own token
    #[arg(long, default_value_t = 20_000, value_parser = within(1..=BUYERS_MAX), allow_negative_numbers = true)]
    pub buyers: usize,
    /// Units of each product
    #[arg(long, default_value_t = 10_000, value_parser = within(0..=STOCK_MAX), allow_negative_numbers = true)]
    pub stock: u32,
    /// Open connections
    #[arg(long, default_value_t = 256, value_parser = within(1..=CONNECTIONS_MAX), allow_negative_numbers = true)]
    pub connections: usize,
    /// Products; buyers are spread over them in turn
    #[arg(long, default_value_t = 1, value_parser = within(1..=PRODUCTS_MAX), allow_negative_numbers = true)]
    pub products: usize,
    /// Requests per second, sent on schedule whether or not answers come (open loop; latency counts from the
    /// scheduled time). Without it, each connection sends its next request when it has an answer (closed loop)
    #[arg(long, value_parser = within(0.1..=1e7), allow_negative_numbers = true)]
    pub rate: Option<f64>,
    /// The share of buyers, 0 to 1, who send twice: half of them with the same idempotency key, half without a key
    #[arg(long, default_value_t = 0.02, value_parser = within(0.0..=1.0), allow_negative_numbers = true)]
    pub repeat_share: f64,
    /// How long the crowd buys at most, in seconds
    #[arg(long, default_value_t = 60, value_parser = within(1..=DURATION_SECONDS_MAX), allow_negative_numbers = true)]
    pub duration: u64,
    /// Purchases have to be paid for within this many seconds, or their units are for sale again (the products'
    /// paymentWindowSeconds; a shop's own have at least 60). While the crowd buys, a payment service pays for a share of
    /// the purchases, and of the others half are canceled by their buyers and half let go. With 60 or less, the rehearsal
    /// waits at the end until these have expired; with more, they are still held when the books are checked
    #[arg(long, value_name = "SECONDS", value_parser = within(1..=WINDOW_SECONDS_MAX), allow_negative_numbers = true)]
    pub window: Option<i64>,
    /// The share of purchases, 0 to 1, that is paid for; needs --window
    #[arg(long, value_name = "SHARE", default_value_t = 0.9, value_parser = within(0.0..=1.0), allow_negative_numbers = true, requires = "window")]
    pub pay_share: f64,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Write a plot of rate and latency over time to this file (SVG)
    #[arg(long)]
    pub plot: Option<PathBuf>,
}

/// Reads a number from the command line and refuses one out of range; NaN is out of every range.
pub fn within<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + Display + Clone,
{
    move |text| {
        let value = text.parse().ok().filter(|value| range.contains(value));
        value.ok_or_else(|| format!("it has to be {} to {}", range.start(), range.end()))
    }
}

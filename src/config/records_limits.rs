//! The limits of what is looked into afterwards.

/// What is looked into afterwards: CSV, the report of a sale, and the networks that purchases came from.
#[derive(Debug, Clone, Copy)]
pub struct RecordsLimits {
    /// How long a purchase keeps the network that it came from, in days; 0 keeps none: `NETWORK_DAYS`.
    pub network_days: u32,
    /// Purchases whose network is removed at once.
    pub network_removal_batch_purchases: usize,
    /// The pause between two such batches: selling comes first.
    pub network_removal_pause_ms: u64,
    /// How often a server looks for networks to remove.
    pub network_removal_interval_seconds: u64,
    /// CSV streams at once.
    pub csv_streams_in_flight_max: usize,
    /// Purchases that a CSV stream reads at once.
    pub csv_page_purchases_max: usize,
    /// The time a client has to take what a CSV stream has read, before the stream is cut.
    pub csv_chunk_wait_ms_max: u64,
    /// Reports at once.
    pub reports_in_flight_max: usize,
    /// The time that one of the queries for a report may take.
    pub report_ms_max: u64,
    /// The points of a report's curve.
    pub report_points_max: i64,
    /// Networks, and groups of accounts, that a report lists.
    pub report_rows_max: usize,
    /// The purchases, from the first, whose buyers' accounts a report looks up.
    pub report_accounts_purchases_max: i64,
}

impl Default for RecordsLimits {
    fn default() -> Self {
        Self {
            network_days: 30,
            network_removal_batch_purchases: 500,
            network_removal_pause_ms: 250,
            network_removal_interval_seconds: 600,
            csv_streams_in_flight_max: 4,
            csv_page_purchases_max: 1_000,
            csv_chunk_wait_ms_max: 30_000,
            reports_in_flight_max: 1,
            report_ms_max: 120_000,
            report_points_max: 600,
            report_rows_max: 50,
            report_accounts_purchases_max: 100_000,
        }
    }
}

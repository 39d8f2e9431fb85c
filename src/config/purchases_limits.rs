//! The limits of buying.

use super::limits::cores;

/// Buying.
#[derive(Debug, Clone, Copy)]
pub struct PurchasesLimits {
    /// Products that have a lane at once. A further product takes over an idle lane's place; if no lane is idle, its
    /// purchases are refused as overload.
    pub lanes_max: usize,
    /// Purchase requests in flight at once, over all products; further ones are refused as overload before their
    /// tokens and bodies are read.
    pub purchases_in_flight_max: usize,
    /// Up to this many purchases in flight are admitted whatever the wait estimate is.
    pub purchases_in_flight_min: usize,
    /// The wait estimate for one more purchase, from those in flight and the recent rate, above which new ones are
    /// refused as overload, most of them before their tokens and bodies are read.
    pub estimated_wait_ms_max: u64,
    /// The same for one product: lower, so that one product alone cannot fill the server.
    pub lane_estimated_wait_ms_max: u64,
    /// Up to this many purchases of one product in flight are admitted whatever the wait estimate is. Half of
    /// `purchases_in_flight_min`, so that one stuck product does not make the server refuse the others.
    pub lane_purchases_in_flight_min: usize,
    /// Purchases that wait in one lane; further ones are refused as overload.
    pub lane_queue_purchases_max: usize,
    /// The time a purchase waits in its lane before it is refused as overload.
    pub queue_wait_ms_max: u64,
    /// Purchases of a lane that are decided together, and purchases committed by one transaction. A thousand fit into a
    /// transaction's 16 MiB many times over, and take some 20 ms, which the next batch has to wait.
    pub batch_purchases_max: usize,
    /// The time one batch may take, retries included.
    pub batch_ms_max: u64,
    /// Products in one transaction.
    pub transaction_products_max: usize,
    /// Transactions in flight at once, over all lanes. Batches that wait share the next transaction, so a few are
    /// enough, and fewer ones are larger and cheaper. One per core of this machine, up to 8: the database hardly has
    /// fewer cores.
    pub commits_in_flight_max: usize,
    /// The buyers, and their purchases with a key, that one lane remembers; with more, it reads them for each batch.
    /// Some 100 bytes each, plus the key.
    pub lane_buyers_max: usize,
    /// The same for all lanes together; with more, each lane forgets its buyers with its next batch.
    pub buyers_max: usize,
    /// Purchases of another server that a lane reads to catch up; if there are more, it forgets its buyers instead.
    pub catch_up_purchases_max: usize,
    /// Idempotency keys that are remembered as used, some 150 bytes each.
    pub used_keys_max: usize,
    /// Changes of earlier purchases (payments, cancellations, refunds, expiries) that wait in one lane or are asked for at
    /// once; further ones are refused as overload.
    pub changes_in_flight_max: usize,
    /// How often each server looks for purchases that expire.
    pub expiry_interval_ms: u64,
    /// Purchases that expire in one step, the oldest first.
    pub expiries_max: usize,
    /// How long one server does this for all after it has last said so.
    pub expiry_lease_ms: u64,
    /// Accounts of which it is remembered when they were made, some 40 bytes each; only those whose tokens do not say it.
    pub registrations_max: usize,
    /// A lane retires after this time without a purchase.
    pub lane_idle_ms_max: u64,
}

impl Default for PurchasesLimits {
    fn default() -> Self {
        Self {
            lanes_max: 4_096,
            // What one core sells in about half a second. It bounds the memory even when there is no wait estimate.
            purchases_in_flight_max: 10_000,
            purchases_in_flight_min: 100,
            estimated_wait_ms_max: 600,
            lane_estimated_wait_ms_max: 500,
            lane_purchases_in_flight_min: 50,
            lane_queue_purchases_max: 10_000,
            // Together with the batch, an answer within two seconds even from a slow database: later, most clients have
            // given up.
            queue_wait_ms_max: 1_200,
            batch_purchases_max: 1_000,
            batch_ms_max: 5_000,
            transaction_products_max: 500,
            commits_in_flight_max: cores().clamp(2, 8),
            lane_buyers_max: 200_000,
            buyers_max: 2_000_000,
            catch_up_purchases_max: 10_000,
            used_keys_max: 100_000,
            changes_in_flight_max: 2_000,
            expiry_interval_ms: 1_000,
            expiries_max: 1_000,
            expiry_lease_ms: 2_000,
            registrations_max: 100_000,
            lane_idle_ms_max: 60_000,
        }
    }
}

//! The purchase engine. A purchase goes through these steps:
//!
//! 1. `service` calls `precheck`, which refuses from memory what cannot be bought.
//! 2. `lanes` puts the purchase into the queue of its product's lane, if `admission` expects it to be served in time.
//! 3. `lane` takes all waiting purchases as one batch, and `settle` (pure) decides each of them.
//! 4. `commit` commits the batches of all lanes that are ready, in one transaction.
//!
//! What becomes of a purchase after it was made (it is paid for, given up, expires, is refunded) goes the same way from step 2
//! on; `expiry` asks for what expires.
//!
//! Servers that sell the same product alternate (`rotation`, pure). `history` and `listing` read past
//! purchases, `export` writes them as CSV, and `network_removal` forgets where they came from.

pub(crate) mod admission;
pub(crate) mod buyers;
pub mod commit;
pub(crate) mod expiry;
pub(crate) mod export;
pub mod history;
pub(crate) mod in_doubt;
pub(crate) mod lane;
pub(crate) mod lanes;
pub(crate) mod listing;
pub(crate) mod network_removal;
pub(crate) mod precheck;
pub(crate) mod rotation;
pub mod sale_state;
pub(crate) mod service;
pub(crate) mod settle;
pub(crate) mod used_keys;
pub mod view;

//! The purchase engine. A purchase takes this way:
//!
//! 1. `service` has `precheck` refuse from memory what cannot be bought anyway.
//! 2. `lanes` puts it into the queue of its product's lane, if `admission` expects it to be served in time.
//! 3. `lane` takes all that wait as one batch, and `settle` (pure) decides each of them.
//! 4. `commit` commits the batches of all lanes that are ready, in one transaction.
//!
//! Servers that sell the same product alternate (`rotation`, pure). `history` reads what was bought.

pub(crate) mod admission;
pub(crate) mod buyers;
pub mod commit;
pub mod history;
pub(crate) mod lane;
pub(crate) mod lanes;
pub(crate) mod precheck;
pub(crate) mod rotation;
pub mod sale_state;
pub(crate) mod service;
pub(crate) mod settle;
pub mod view;

//! Commits what lanes have settled: `committer` gathers the changes of all lanes, `transaction` commits them in one
//! transaction, `abandoned_transactions` ends those that nobody will commit, and `barrier` finds out what became of a
//! commit that got no answer.

pub(crate) mod barrier;
pub mod change;
pub mod committer;
pub mod transaction;
mod transitions;

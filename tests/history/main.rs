//! The history test: servers over a replica set, buyers, readers and watchers, and faults that a seed decides; and a checker
//! that reads what everybody was told and says which promise was broken. docs/RELIABILITY.md tells how to read and repeat it.

mod actors;
mod checker;
mod client;
mod cluster;
mod faults;
mod random;
mod record;
mod run;
mod settings;
mod shop;

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_run_keeps_every_promise() {
    run::run(&settings::Settings::from_environment()).await;
}

//! `mongod`: the product's embedded MongoDB alone, for measurements that share one.

use std::path::PathBuf;

use flash_sale::embedded::EmbeddedMongo;
use flash_sale::signals::Signals;
use flash_sale::store::hang_up;
use mongodb::Client;
use mongodb::bson::doc;
use serde_json::json;

use crate::Outcome;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The data directory
    #[arg(long)]
    data_dir: PathBuf,
    /// For how many seconds mongod keeps old versions of documents; the product's own setting by default
    #[arg(long)]
    snapshot_history_seconds: Option<u32>,
}

/// Runs until Ctrl-C or SIGTERM. Prints its connection string, without a database.
pub async fn run(arguments: Arguments) -> Outcome {
    let mut end = Signals::listen()?;
    let mongo = EmbeddedMongo::start(&arguments.data_dir).await?;
    let client = Client::with_uri_str(mongo.system_uri().reveal()).await?;
    let admin = client.database("admin");
    if let Some(seconds) = arguments.snapshot_history_seconds {
        let setting = doc! { "setParameter": 1, "minSnapshotHistoryWindowInSeconds": seconds };
        admin.run_command(setting).await?;
    }
    // Each server gets a database of its own, and `opcounters` asks for the server's status.
    let roles = ["readWriteAnyDatabase", "clusterMonitor"];
    admin.run_command(doc! { "grantRolesToUser": "flash-sale", "roles": roles.to_vec() }).await?;
    hang_up(&client).await;
    let uri = mongo.uri().reveal().replacen("/flashsale?", "/?", 1);
    println!("{}", json!({ "uri": uri, "pid": mongo.process_id() }));
    let ended = mongo.ended();
    tokio::select! {
        () = end.next() => {
            mongo.stop().await;
            Ok(())
        }
        reason = ended => Err(reason.into()),
    }
}

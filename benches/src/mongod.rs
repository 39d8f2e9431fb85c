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
    if let Some(seconds) = arguments.snapshot_history_seconds {
        let client = Client::with_uri_str(mongo.uri()).await?;
        let setting = doc! { "setParameter": 1, "minSnapshotHistoryWindowInSeconds": seconds };
        client.database("admin").run_command(setting).await?;
        hang_up(&client).await;
    }
    println!("{}", json!({ "uri": mongo.uri(), "pid": mongo.process_id() }));
    let ended = mongo.ended();
    tokio::select! {
        () = end.next() => {
            mongo.stop().await;
            Ok(())
        }
        reason = ended => Err(reason.into()),
    }
}

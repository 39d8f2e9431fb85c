//! `opcounters`: how many operations a mongod has executed since its start. The difference of two readings is what a
//! load cost the database.

use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};
use serde_json::{Map, Value};

use crate::Outcome;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The address of the database
    #[arg(long)]
    mongo_uri: String,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let client = Client::with_uri_str(&arguments.mongo_uri).await?;
    let status: Document = client.database("admin").run_command(doc! { "serverStatus": 1 }).await?;
    let mut counters = Map::new();
    for (name, count) in status.get_document("opcounters")? {
        let count = match count {
            Bson::Int32(count) => i64::from(*count),
            Bson::Int64(count) => *count,
            _ => continue,
        };
        counters.insert(name.clone(), count.into());
    }
    println!("{}", Value::Object(counters));
    Ok(())
}

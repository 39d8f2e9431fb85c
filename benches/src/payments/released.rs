//! `released`: how late the purchases of a product expired, by the database's clock.

use flash_sale::model::id::Id;
use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use serde_json::json;

use super::purchases;
use crate::Outcome;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The server's database
    #[arg(long)]
    mongo_uri: String,
    /// The id of the product
    #[arg(long)]
    product: Id,
}

/// Prints how many have expired, from when to when, and how late the latest was. Moments are milliseconds since 1970.
pub async fn run(arguments: Arguments) -> Outcome {
    let purchases = purchases(&arguments.mongo_uri).await?;
    let late = doc! { "$subtract": ["$statusChangedAt", "$expiresAt"] };
    let summed = vec![
        doc! { "$match": { "productId": arguments.product, "status": "expired" } },
        doc! { "$group": {
            "_id": null,
            "count": { "$sum": 1_i64 },
            "dueFromMs": { "$min": { "$toLong": "$expiresAt" } },
            "dueUntilMs": { "$max": { "$toLong": "$expiresAt" } },
            "fromMs": { "$min": { "$toLong": "$statusChangedAt" } },
            "untilMs": { "$max": { "$toLong": "$statusChangedAt" } },
            "lateMsMax": { "$max": late.clone() },
            "lateMsMean": { "$avg": late },
        } },
    ];
    let found: Vec<Document> = purchases.aggregate(summed).await?.try_collect().await?;
    let found = found.first().ok_or("nothing has expired")?;
    let number = |name: &str| match found.get(name) {
        Some(Bson::Int64(number)) => *number as f64,
        Some(Bson::Double(number)) => *number,
        _ => f64::NAN,
    };
    let names = ["count", "dueFromMs", "dueUntilMs", "fromMs", "untilMs", "lateMsMax", "lateMsMean"];
    let told: serde_json::Map<_, _> =
        names.iter().map(|name| ((*name).to_owned(), json!(number(name)))).collect();
    println!("{:#}", serde_json::Value::Object(told));
    Ok(())
}

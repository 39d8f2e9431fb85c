//! Purchases that have to be paid for: they are confirmed, given up, or expire.

use mongodb::bson::Document;
use mongodb::{Client, Collection};

use crate::Outcome;

pub mod confirms;
pub mod going_round;
pub mod released;

/// The purchases in the database that the URI names.
async fn purchases(mongo_uri: &str) -> Outcome<Collection<Document>> {
    let client = Client::with_uri_str(mongo_uri).await?;
    let database = client.default_database().ok_or("--mongo-uri has to name the database")?;
    Ok(database.collection("purchases"))
}

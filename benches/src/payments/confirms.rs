//! `confirms`: a payment service confirms every purchase of a product that is held, each with a payment of its own.

use std::sync::Arc;

use flash_sale::model::id::Id;
use flash_sale::rehearse::load::Load;
use flash_sale::rehearse::progress::Progress;
use flash_sale::rehearse::within;
use futures_util::TryStreamExt;
use mongodb::bson::doc;
use tokio_util::sync::CancellationToken;

use super::purchases;
use crate::crowd::{Phase, Report};
use crate::target::Target;
use crate::{CONNECTIONS, Outcome, buyers};

/// A later answer is of no use.
const GOODPUT_MS: u64 = 2_000;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The server's address
    #[arg(long)]
    url: Target,
    /// The secret that the server signs tokens with
    #[arg(long)]
    secret: String,
    /// The server's database, to know what is held
    #[arg(long)]
    mongo_uri: String,
    /// The id of the product
    #[arg(long)]
    product: Id,
    /// How many connections are open at once
    #[arg(long, default_value_t = 256, value_parser = within(CONNECTIONS), allow_negative_numbers = true)]
    connections: usize,
}

/// Confirms in a closed loop until nothing is held, and prints the report.
pub async fn run(arguments: Arguments) -> Outcome {
    let target = &arguments.url;
    let token = buyers::payments_token(&arguments.secret)?;
    let held = doc! { "productId": arguments.product, "status": "pending" };
    let held = purchases(&arguments.mongo_uri).await?.find(held).projection(doc! { "_id": 1 }).await?;
    let ids: Vec<_> =
        held.and_then(|found| async move { Ok(found.get_object_id("_id")?) }).try_collect().await?;
    let headers = format!("Authorization: Bearer {token}\r\n");
    let confirm = |id: &Id| {
        let body = format!(r#"{{"paymentReference":"bench-{id}"}}"#);
        target.request("POST", &format!("/purchases/{id}/confirm"), &headers, &body)
    };
    let count = ids.len();
    let load = Load {
        address: target.address,
        connections: arguments.connections,
        rate: None,
        requests: Arc::new(ids.iter().map(confirm).collect()),
        repeats: false,
        progress: Arc::new(Progress::default()),
        stop: CancellationToken::new(),
    };
    let ready = load.open().await;
    let (opened, started_at) = (ready.connections(), flash_sale::model::timestamp::Timestamp::now_here());
    let events = ready.run().await;
    let phase = Phase { rate: None, seconds: 0.0, connections: opened };
    let report = Report::new(&phase, (opened, started_at), Some(count), &events, GOODPUT_MS);
    println!("{:#}", serde_json::to_value(report)?);
    Ok(())
}

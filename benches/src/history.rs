//! `history`: fills a database with old purchases, stored as the product stores them.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use flash_sale::purchases::history::PurchaseCursor;
use flash_sale::store::connect::durable;
use flash_sale::store::schema::{self, PRODUCTS, PURCHASES};
use indicatif::{ProgressBar, ProgressStyle};
use mongodb::bson::{RawDocumentBuf, doc, serialize_to_raw_document_buf};
use mongodb::options::{ClientOptions, WriteConcern};
use mongodb::{Client, Collection, Database};
use serde_json::json;
use tokio::task::JoinSet;

use crate::Outcome;

pub mod documents;
mod plan;

use plan::Plan;

/// Purchases in one insert: about 2.5 MB.
const BATCH_PURCHASES: u64 = 10_000;
/// Inserts in flight at once.
const WRITERS: u64 = 4;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The address of the database
    #[arg(long)]
    mongo_uri: String,
    /// The name of the database; it must not exist yet
    #[arg(long)]
    database: String,
    /// How many purchases
    #[arg(long, default_value_t = 10_000_000)]
    purchases: u64,
    /// How many products; the first one has a tenth of all purchases
    #[arg(long, default_value_t = 1_000)]
    products: u64,
}

/// Fills the database, builds the indexes, and prints what to ask for.
pub async fn run(arguments: Arguments) -> Outcome {
    let client = Client::with_options(ClientOptions::parse(&arguments.mongo_uri).await?)?;
    if client.list_database_names().await?.contains(&arguments.database) {
        return Err(format!("there is a database {} already", arguments.database).into());
    }
    let database = client.database(&arguments.database);
    let plan = Arc::new(Plan::new(arguments.purchases, arguments.products)?);
    insert_purchases(&database, &plan).await?;
    let products: Vec<_> = (0..arguments.products).map(|number| plan.product(number)).collect();
    database.collection(PRODUCTS).insert_many(products).await?;
    // Last, because building an index takes a fraction of the time that updating it during the inserts would.
    let building = spinner("building the indexes, by the product's own code")?;
    schema::prepare(&database).await?;
    // Once this write is durable, all earlier ones are.
    let last = doc! { "$set": { "durable": true } };
    let products = database.collection::<mongodb::bson::Document>(PRODUCTS);
    products.update_one(doc! { "_id": plan.product_id(0) }, last).write_concern(durable()).await?;
    products
        .update_one(doc! { "_id": plan.product_id(0) }, doc! { "$unset": { "durable": "" } })
        .write_concern(durable())
        .await?;
    building.finish_and_clear();
    println!("{:#}", description(&plan)?);
    Ok(())
}

async fn insert_purchases(database: &Database, plan: &Arc<Plan>) -> Outcome {
    let bar = ProgressBar::new(plan.purchases);
    bar.set_style(ProgressStyle::with_template(
        "{bar:32} {percent:>3} %  {human_pos} purchases  {per_sec}  {eta} left",
    )?);
    // The wait for the journal and the majority comes once, at the end.
    let once = mongodb::options::CollectionOptions::builder()
        .write_concern(WriteConcern::builder().w(mongodb::options::Acknowledgment::Nodes(1)).build())
        .build();
    let purchases: Collection<RawDocumentBuf> = database.collection_with_options(PURCHASES, once);
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (plan, purchases, bar) = (plan.clone(), purchases.clone(), bar.clone());
        writers.spawn(async move {
            let mut first = writer * BATCH_PURCHASES;
            while first < plan.purchases {
                let numbers = first..(first + BATCH_PURCHASES).min(plan.purchases);
                let count = numbers.end - numbers.start;
                let batch: Vec<_> = numbers.map(|number| plan.purchase_document(number)).collect();
                purchases.insert_many(batch).ordered(false).await?;
                bar.inc(count);
                first += WRITERS * BATCH_PURCHASES;
            }
            Ok::<_, mongodb::error::Error>(())
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    bar.finish_and_clear();
    Ok(())
}

fn spinner(message: &'static str) -> Outcome<ProgressBar> {
    let spinner = ProgressBar::new_spinner().with_message(message);
    spinner.set_style(ProgressStyle::with_template("{spinner} {msg}, {elapsed}")?);
    spinner.enable_steady_tick(std::time::Duration::from_millis(200));
    Ok(spinner)
}

/// The users and products to ask for, and cursors into the middle of the lists.
fn description(plan: &Plan) -> Outcome<serde_json::Value> {
    let cursor = |number: u64, rank: u64, product| -> Outcome<String> {
        let cursor = PurchaseCursor::of(
            &serialize_to_raw_document_buf(&plan.purchase(number))?,
            i64::try_from(rank)?,
            product,
        );
        Ok(BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(&cursor)?))
    };
    let middle = plan.purchases / 2;
    let hot_middle = plan.nth_of_hot(plan.hot_count() / 2);
    let own = plan.nth_of_collector(plan.collector_count() / 2);
    Ok(json!({
        "purchases": plan.purchases,
        "products": plan.products,
        "hotProduct": plan.product_id(0).to_hex(),
        "hotPurchases": plan.hot_count(),
        "collector": plan.collector().to_hex(),
        "collectorPurchases": plan.collector_count(),
        "everythingCursor": cursor(middle, middle + 1, None)?,
        "hotCursor": cursor(hot_middle, plan.hot_count() / 2 + 1, Some(plan.product_id(0)))?,
        "collectorCursor": cursor(own, 0, None)?,
    }))
}

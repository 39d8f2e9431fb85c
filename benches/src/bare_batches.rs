//! `bare-batches`: transactions of many purchases straight through the driver, with the fewest statements that change
//! the stock of each product and insert each purchase: no read, no check, no answer. No design with one document for
//! each product and one for each purchase can be cheaper for MongoDB.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use flash_sale::config::StoreLimits;
use flash_sale::model::id::Id;
use flash_sale::purchases::commit::transaction;
use flash_sale::rehearse::within;
use flash_sale::store::{Store, hang_up};
use mongodb::bson::{DateTime, doc};
use serde_json::json;
use tokio::task::JoinSet;

use crate::history::documents;
use crate::{DURATION_SECONDS, Outcome};

/// As many as the product's committer keeps in flight.
const TRANSACTIONS_IN_FLIGHT: usize = 2;
/// Units of each product; more than can be sold.
const STOCK: i64 = 1_000_000_000;
/// The first 500 ms are not counted.
const WARM_UP: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The database, a replica set
    #[arg(long)]
    mongo_uri: String,
    /// Products of a transaction
    #[arg(long)]
    products: NonZeroUsize,
    /// Purchases of a transaction, spread over its products
    #[arg(long, default_value_t = 500)]
    purchases: usize,
    /// Duration in seconds
    #[arg(long, default_value_t = 5.0, value_parser = within(DURATION_SECONDS), allow_negative_numbers = true)]
    duration: f64,
}

/// Sells and prints the rate.
pub async fn run(arguments: Arguments) -> Outcome {
    let store = Store::connect(&arguments.mongo_uri, &StoreLimits::default()).await?;
    let begin = Instant::now() + WARM_UP;
    let end = begin + Duration::from_secs_f64(arguments.duration);
    let each = i64::try_from(arguments.purchases / arguments.products)?;
    if each == 0 {
        return Err("there have to be as many purchases as products".into());
    }
    let mut sellers = JoinSet::new();
    for _ in 0..TRANSACTIONS_IN_FLIGHT {
        let products: Vec<_> = (0..arguments.products.get())
            .map(|_| documents::product("Bare", 0, STOCK, DateTime::now()))
            .collect();
        store.products.insert_many(&products).await?;
        let ids = products.iter().map(|product| product.id).collect();
        sellers.spawn(sell(store.clone(), ids, each, begin, end));
    }
    let mut sold = 0;
    for count in sellers.join_all().await {
        sold += count?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    hang_up(&store.client).await;
    println!("{:#}", json!({ "sold": sold, "perSecond": sold as f64 / seconds }));
    Ok(())
}

/// Sells until `end`. Returns the purchases made after `begin`.
async fn sell(store: Store, products: Vec<Id>, each: i64, begin: Instant, end: Instant) -> Outcome<usize> {
    let mut sold = 0;
    for batch in 0.. {
        if Instant::now() >= end {
            break;
        }
        let purchases: Vec<_> = (1..=each)
            .flat_map(|number| {
                products.iter().map(move |product| documents::purchase(*product, batch * each + number))
            })
            .collect();
        let mut session = transaction::begin(&store).await?;
        let taking =
            doc! { "$inc": { "stock": -each, "sold": each, "purchaseCount": each, "version": 1_i64 } };
        let wanted = doc! { "_id": { "$in": &products } };
        store.products.update_many(wanted, taking).session(&mut session).await?;
        store.purchases.insert_many(&purchases).session(&mut session).await?;
        session.commit_transaction().await?;
        store.sale_sessions.give_back(session);
        if Instant::now() >= begin {
            sold += purchases.len();
        }
    }
    Ok(sold)
}

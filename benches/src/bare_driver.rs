//! `bare-driver`: the statements by which the product commits a purchase (`src/purchases/commit.rs`), one purchase at a
//! time on one connection, straight through the driver. A server cannot answer a lone client faster than this.

use std::time::{Duration, Instant};

use flash_sale::id::Id;
use flash_sale::products::model::{Money, Product};
use flash_sale::purchases::knowledge::SaleState;
use flash_sale::purchases::model::Purchase;
use flash_sale::store::connect::durable;
use flash_sale::store::schema::{self, PRODUCTS, PURCHASES};
use mongodb::bson::{DateTime, doc};
use mongodb::options::{ClientOptions, ReadConcern, ReturnDocument};
use mongodb::{Client, Collection};

use crate::Outcome;
use crate::figures::Latencies;
use crate::history::documents;

/// The first ones, which find everything cold, are not counted: one in so many.
const WARM_UP: usize = 10;

/// The options of `bare-driver`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The database, a replica set
    #[arg(long)]
    mongo_uri: String,
    /// Purchases
    #[arg(long, default_value_t = 2_000)]
    count: usize,
}

/// Buys and prints the latencies.
pub async fn run(arguments: Arguments) -> Outcome {
    let mut options = ClientOptions::parse(&arguments.mongo_uri).await?;
    options.max_pool_size = Some(1);
    options.read_concern = Some(ReadConcern::majority());
    options.write_concern = Some(durable());
    let name = options.default_database.clone().unwrap_or_else(|| "bare".into());
    let client = Client::with_options(options)?;
    let database = client.database(&name);
    schema::prepare(&database).await?;
    let products: Collection<Product> = database.collection(PRODUCTS);
    let purchases: Collection<Purchase> = database.collection(PURCHASES);
    let product = documents::product("Bare", 0, i64::try_from(arguments.count * 2)?, DateTime::now());
    products.insert_one(&product).await?;
    let mut latencies = Vec::with_capacity(arguments.count);
    let warm_up = arguments.count / WARM_UP;
    for number in 0..arguments.count + warm_up {
        let start = Instant::now();
        buy(&client, &products, &purchases, product.id, product.version + i64::try_from(number)?).await?;
        if number >= warm_up {
            latencies.push(start.elapsed());
        }
    }
    let seconds = latencies.iter().sum::<Duration>().as_secs_f64();
    let mut report = serde_json::to_value(Latencies::of(latencies))?;
    report["perSecond"] = (arguments.count as f64 / seconds).into();
    println!("{report:#}");
    Ok(())
}

async fn buy(
    client: &Client,
    products: &Collection<Product>,
    purchases: &Collection<Purchase>,
    product: Id,
    version: i64,
) -> Outcome {
    let mut session = client.start_session().await?;
    session.start_transaction().read_concern(ReadConcern::snapshot()).write_concern(durable()).await?;
    let as_known = doc! {
        "_id": product,
        "version": version,
        "stock": { "$gte": 1_i64 },
        "$expr": { "$and": [
            { "$lte": ["$saleStartTime", "$$NOW"] },
            { "$gt": ["$saleEndTime", "$$NOW"] },
            { "$or": [{ "$lte": ["$turn.until", "$$NOW"] }, { "$eq": ["$turn.server", product] }] },
        ] },
    };
    let change = doc! {
        "$inc": { "stock": -1_i64, "sold": 1_i64, "purchaseCount": 1_i64, "version": 1_i64 },
        "$currentDate": { "updatedAt": true },
        "$unset": { "turn": "" },
    };
    let state = products
        .clone_with_type::<SaleState>()
        .find_one_and_update(as_known, change)
        .projection(SaleState::projection())
        .return_document(ReturnDocument::After)
        .session(&mut session)
        .await?
        .ok_or("somebody else changed the product")?;
    let purchase = Purchase {
        id: Id::new(),
        product_id: product,
        user_id: Id::new(),
        buyer: "Bench M.".into(),
        quantity: 1,
        unit_price: Money { amount: 9_900, currency: "USD".into() },
        sequence: state.purchase_count,
        first_unit: 1,
        purchased_at: state.updated_at,
        idempotency_key: None,
    };
    purchases.insert_many([purchase]).session(&mut session).await?;
    session.commit_transaction().await?;
    Ok(())
}

//! `bare-driver`: the statements with which the product makes one purchase (`src/purchases/commit.rs`), one purchase
//! at a time on one connection, straight through the driver. A server cannot answer a lone client faster than this.

use std::time::{Duration, Instant};

use flash_sale::config::StoreLimits;
use flash_sale::model::id::Id;
use flash_sale::purchases::commit::change::{Change, Figures};
use flash_sale::purchases::commit::transaction;
use flash_sale::purchases::sale_state::SaleState;
use flash_sale::store::{Store, hang_up};
use mongodb::bson::DateTime;

use crate::Outcome;
use crate::figures::Latencies;
use crate::history::documents;

/// The first tenth of the purchases finds cold caches and is not counted.
const WARM_UP: usize = 10;

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
    let limits =
        StoreLimits { database_connections_min: 1, database_connections_max: 1, ..StoreLimits::default() };
    let store = Store::connect(&arguments.mongo_uri, &limits).await?;
    let product = documents::product("Bare", 0, i64::try_from(arguments.count * 2)?, DateTime::now());
    store.products.insert_one(&product).await?;
    let mut state = SaleState::of(&product);
    let mut latencies = Vec::with_capacity(arguments.count);
    let warm_up = arguments.count / WARM_UP;
    for number in 0..arguments.count + warm_up {
        let start = Instant::now();
        state = buy(&store, product.id, state).await?;
        if number >= warm_up {
            latencies.push(start.elapsed());
        }
    }
    hang_up(&store.client).await;
    let seconds = latencies.iter().sum::<Duration>().as_secs_f64();
    let mut report = serde_json::to_value(Latencies::of(latencies))?;
    report["perSecond"] = (arguments.count as f64 / seconds).into();
    println!("{report:#}");
    Ok(())
}

/// One purchase by a new buyer. Returns the product's state after it.
async fn buy(store: &Store, product_id: Id, state: SaleState) -> Outcome<SaleState> {
    let purchase = documents::purchase(product_id, state.purchase_count + 1);
    let figures = Figures { stock: -1, sold: 1, ..Figures::default() };
    let (transitions, entries) = (Vec::new(), Vec::new());
    let purchases = vec![purchase];
    let mut change =
        Change { product_id, state, figures, purchases, transitions, entries, has_collided: false };
    let mut session = transaction::begin(store).await?;
    let state = transaction::take_from_one(store, &mut session, &change).await?;
    let state = state.ok_or("somebody else changed the product")?;
    change.date(&state);
    store.purchases.insert_many(&change.purchases).session(&mut session).await?;
    session.commit_transaction().await?;
    store.sale_sessions.give_back(session);
    Ok(state)
}

//! Writes to a product outside of the transactions that sell it: they wait until those are over, where a second
//! transaction would fail at once.

use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};
use rand::RngExt as _;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::{Store, failure, schema};

/// How long a turn lasts at the most, in milliseconds: some batches of a slow database, and no long wait if its holder has
/// died.
const TURN_MS_MAX: i64 = 300;
/// How long a turn is waited for at the most, in milliseconds.
const TURNS_MS_MAX: u64 = 3 * TURN_MS_MAX.unsigned_abs();
/// A turn that would end later than in so many milliseconds is none: the clock has gone back.
const TURN_AHEAD_MS_MAX: i64 = 10 * TURN_MS_MAX;
/// How long the database waits for a transaction that has changed the product, in milliseconds: it may be one that nobody will
/// end soon, and there are other products.
const TURN_WAIT_MS_MAX: i64 = 500;
/// How long the database waits for the transactions that a barrier is to outlive, and for its majority, in milliseconds.
const BARRIER_WAIT_MS_MAX: u64 = 2_000;
/// The longest pause before a turn that another server has is asked for again, in milliseconds.
const TURN_PAUSE_MS_MAX: u64 = 4;

/// Waits for this server's turn at a product that other servers sell too, but no longer than until `deadline`, and no longer
/// than a few turns last: it may be that of a product that is not there any more.
///
/// Inside a transaction the second writer fails at once: without turns, each of the servers would try in vain as often as
/// there are others, and one with an endless queue could win again and again. A turn is over once its holder has
/// committed, or when it runs out; it promises nothing, since the version decides.
///
/// Where it cannot be had, nothing is lost: the transaction will tell why.
pub async fn wait_for_turn(store: &Store, product_id: Id, server: Id, deadline: Instant) {
    let deadline = deadline.min(Instant::now() + Duration::from_millis(TURNS_MS_MAX));
    while Instant::now() < deadline {
        match take_turn(store, product_id, server).await {
            Ok(false) => {}
            Ok(true) => return,
            Err(error) => return tracing::debug!("product {product_id}: no turn: {}", error.code().title()),
        }
        let pause = Duration::from_millis(rand::rng().random_range(1..=TURN_PAUSE_MS_MAX));
        tokio::time::sleep(pause).await;
    }
}

/// That it is no other server's turn at a product, as an expression. A turn far in the future was taken before the database's
/// clock was put back, or before another primary's clock took over.
pub fn is_turn_of(server: impl Into<Bson>) -> Document {
    let far = doc! { "$add": ["$$NOW", TURN_AHEAD_MS_MAX] };
    doc! { "$or": [
        { "$lte": ["$turn.until", "$$NOW"] },
        { "$gt": ["$turn.until", far] },
        { "$eq": ["$turn.server", server.into()] },
    ] }
}

/// Takes the turn if no other server has it.
async fn take_turn(store: &Store, product_id: Id, server: Id) -> Result<bool> {
    // The condition is one of the product to find: with an update that finds it and changes nothing, four servers sold a tenth
    // less.
    let free = doc! { "_id": product_id, "$expr": is_turn_of(server) };
    let ours = doc! { "server": server, "until": { "$add": ["$$NOW", TURN_MS_MAX] } };
    let command = doc! {
        "update": schema::PRODUCTS,
        "updates": [{ "q": free, "u": vec![doc! { "$set": { "turn": ours } }] }],
        // Nothing is lost with it, so it need not be durable.
        "writeConcern": { "w": 1 },
        "maxTimeMS": TURN_WAIT_MS_MAX,
    };
    let database = store.database.clone();
    store
        .write_sale(async move {
            match database.run_command(command).await {
                Ok(reply) => Ok(matches!(reply.get_i32("n"), Ok(1))),
                Err(error) if failure::is_too_slow(&error) => Ok(false),
                Err(error) => Err(failure::of_write(&error)),
            }
        })
        .await
}

/// Settles what became of purchases whose commit got no answer: tells how many of them are there, for good; none as long
/// as that transaction, or another one, still holds the product.
///
/// # Errors
/// Those of a read.
pub async fn settle_unknown(store: &Store, product_id: Id, purchases: &[Id]) -> Result<Option<u64>> {
    if !pass_barrier(store, product_id).await? {
        return Ok(None);
    }
    let made = store.purchases.count_documents(doc! { "_id": { "$in": purchases } });
    store.read_sale(async { made.await.map(Some) }).await
}

/// Waits until every transaction that has changed the product is over, wherever it comes from: what is read afterwards
/// knows its outcome. It is a write to the same document, so it waits for them; and once it is durable on a majority, so
/// is everything that came before it. False when one of them is not over after some time.
///
/// # Errors
/// Those of a read.
pub async fn pass_barrier(store: &Store, product_id: Id) -> Result<bool> {
    // A new value each time: an update that changes nothing takes no lock.
    let barrier = doc! { "$set": { "barrier": Id::new() } };
    let products = store.products.clone_with_type::<Document>();
    let write = async move {
        let pass = products.find_one_and_update(doc! { "_id": product_id }, barrier);
        let pass = pass.projection(doc! { "_id": 1 }).max_time(Duration::from_millis(BARRIER_WAIT_MS_MAX));
        match pass.await {
            Ok(_) => Ok(true),
            Err(error) if failure::is_too_slow(&error) => Ok(false),
            // Whatever became of it: nobody sees it, and it will be tried again.
            Err(error) => Err(failure::of_read(&error)),
        }
    };
    match store.write_sale(write).await {
        Err(Error::OutcomeUnknown { .. }) => Ok(false),
        result => result,
    }
}

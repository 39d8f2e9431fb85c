//! One transaction for several products, which otherwise share nothing. When another server, an admin or the clock
//! stops one product, the others are still sold.

use std::sync::Arc;
use std::time::Duration;

use flash_sale::config::Limits;
use flash_sale::metrics::Metrics;
use flash_sale::model::id::Id;
use flash_sale::model::money::Money;
use flash_sale::model::product::Product;
use flash_sale::model::purchase::Purchase;
use flash_sale::purchases::commit::change::{
    Change, ChangeTicket, CommitOutcome, Figures, PendingChange, pair,
};
use flash_sale::purchases::commit::committer::Commits;
use flash_sale::purchases::commit::transaction::transact;
use flash_sale::purchases::sale_state::SaleState;
use flash_sale::store::Store;
use futures_util::future::{join, join_all};
use mongodb::ClientSession;
use mongodb::bson::{DateTime, Document, doc};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::harness::{Shop, patient, sneaker, sneaker_with};

/// The change that a lane sends for a new product: purchases of one unit each.
fn change(product: &str, purchases: i64) -> Change {
    let product_id: Id = product.parse().unwrap();
    let price = Money { amount: 9_900, currency: "USD".into() };
    let purchase = |sequence| Purchase::new(product_id, Id::new(), sequence, price.clone(), DateTime::MIN);
    let product =
        Product::new(String::new(), price.clone(), 10, (DateTime::MIN, DateTime::MAX), DateTime::MIN);
    let state = SaleState::of(&product);
    let figures = Figures { stock: -purchases, sold: purchases, ..Figures::default() };
    let purchases = (1..=purchases).map(purchase).collect();
    let (transitions, entries) = (Vec::new(), Vec::new());
    Change { product_id, state, figures, purchases, transitions, entries, has_collided: false }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Runs one transaction for all changes; returns what each lane hears, or `None` if it is to be run again.
async fn together(store: &Store, changes: Vec<Change>) -> Vec<Option<CommitOutcome>> {
    let (pending, tickets): (Vec<_>, Vec<ChangeTicket>) =
        changes.into_iter().map(|change| pair(change, soon())).unzip();
    assert!(pending.iter().all(PendingChange::begin));
    let again = transact(store, pending).await;
    let mut outcomes = Vec::new();
    for ticket in tickets {
        let is_told = again.is_empty();
        outcomes.push(if is_told { Some(ticket.outcome().await) } else { None });
    }
    outcomes
}

/// Runs `work` with a committer and waits until the committer has ended.
async fn with_committer<T>(
    store: &Store,
    limits: &Limits,
    metrics: Arc<Metrics>,
    work: impl AsyncFnOnce(&Commits) -> T,
) -> T {
    let tasks = TaskTracker::new();
    let commits = Commits::start(store.clone(), &limits.purchases, metrics, &tasks);
    let result = work(&commits).await;
    drop(commits);
    tasks.close();
    tasks.wait().await;
    result
}

/// Sends all changes to a committer.
async fn through_committer(
    store: &Store,
    limits: &Limits,
    metrics: Arc<Metrics>,
    changes: impl Iterator<Item = Change>,
) -> Vec<CommitOutcome> {
    with_committer(store, limits, metrics, async |commits| {
        join_all(changes.map(|change| commits.commit(change, soon()))).await
    })
    .await
}

/// The scraped metric of how many products the transactions had.
fn transactions(metrics: &Metrics) -> String {
    let mut registry = Registry::default();
    registry.register("products", "In one transaction", metrics.transaction_products.clone());
    let mut counts = String::new();
    encode(&mut counts, &registry).unwrap();
    counts
}

fn is_committed(outcome: &CommitOutcome) -> bool {
    matches!(outcome, CommitOutcome::Committed { .. })
}

async fn set(store: &Store, product: &str, change: Document) {
    let id: Id = product.parse().unwrap();
    store.products.update_one(doc! { "_id": id }, doc! { "$set": change }).await.unwrap();
}

/// A rival's transaction that has changed the product and stays open.
async fn rival_of(store: &Store, product: &str) -> ClientSession {
    let id: Id = product.parse().unwrap();
    let mut rival = store.client.start_session().await.unwrap();
    rival.start_transaction().await.unwrap();
    let raised = doc! { "$inc": { "version": 1_i64 } };
    store.products.update_one(doc! { "_id": id }, raised).session(&mut rival).await.unwrap();
    rival
}

async fn sell(shop: &Shop, count: usize) -> Vec<String> {
    let mut products = Vec::new();
    for _ in 0..count {
        products.push(shop.sell(&sneaker_with(json!({"stock": 10}))).await);
    }
    products
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_sells_many_products() {
    let shop = Shop::open().await;
    let store = shop.store().await;
    let products = sell(&shop, 4).await;
    let changes = products.iter().zip([1, 3, 1, 10]).map(|(id, count)| change(id, count)).collect();
    for ((id, outcome), count) in products.iter().zip(together(&store, changes).await).zip([1, 3, 1, 10]) {
        let Some(CommitOutcome::Committed { state, purchases, .. }) = outcome else { panic!("{id}") };
        let product =
            store.products.find_one(doc! { "_id": id.parse::<Id>().unwrap() }).await.unwrap().unwrap();
        // The reported state matches the database.
        assert_eq!((state.stock, state.purchase_count, state.version), (10 - count, count, 2));
        assert_eq!((product.stock, product.purchase_count, product.version), (10 - count, count, 2));
        assert_eq!(state.updated_at, product.updated_at);
        assert!(purchases.iter().all(|purchase| purchase.purchased_at == product.updated_at));
        assert_eq!(shop.check_invariants(id, 1).await, count);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_as_expected_is_left_out_and_left_alone() {
    let shop = Shop::open().await;
    let store = shop.store().await;
    let products = sell(&shop, 6).await;
    let past = DateTime::from_millis(1_000);
    let future = DateTime::from_millis(4_000_000_000_000);
    set(&store, &products[0], doc! { "version": 2_i64 }).await;
    set(&store, &products[1], doc! { "stock": 0_i64, "sold": 10_i64 }).await;
    set(&store, &products[2], doc! { "saleEndTime": past }).await;
    set(&store, &products[3], doc! { "saleStartTime": future }).await;
    let read = async |id: &String| {
        let id: Id = id.parse().unwrap();
        store.products.clone_with_type::<Document>().find_one(doc! { "_id": id }).await.unwrap()
    };
    let mut before = Vec::new();
    for id in &products {
        before.push(read(id).await);
    }
    let outcomes = together(&store, products.iter().map(|id| change(id, 1)).collect()).await;
    for (index, (outcome, before)) in outcomes.into_iter().zip(before).enumerate() {
        let is_left_out = index < 4;
        match outcome {
            Some(CommitOutcome::Stale) => assert!(is_left_out, "{index}"),
            outcome => {
                assert!(!is_left_out && outcome.is_some_and(|outcome| is_committed(&outcome)), "{index}")
            }
        }
        assert_eq!(read(&products[index]).await == before, is_left_out, "{index}");
    }
    assert_eq!(store.purchases.count_documents(doc! {}).await.unwrap(), 2);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_put_back_dates_no_purchase_before_an_earlier_one() {
    let shop = Shop::open().await;
    let store = shop.store().await;
    let products = sell(&shop, 3).await;
    let ahead = DateTime::from_millis(DateTime::now().timestamp_millis() + 3_600_000);
    for id in &products {
        set(&store, id, doc! { "updatedAt": ahead }).await;
    }
    let change = |id: &String| {
        let mut change = change(id, 1);
        change.state.updated_at = ahead;
        change
    };
    let (alone, others) = products.split_first().unwrap();
    let mut outcomes = together(&store, vec![change(alone)]).await;
    outcomes.extend(together(&store, others.iter().map(change).collect()).await);
    for (id, outcome) in products.iter().zip(outcomes) {
        let Some(CommitOutcome::Committed { state, purchases, .. }) = outcome else { panic!("{id}") };
        let product =
            store.products.find_one(doc! { "_id": id.parse::<Id>().unwrap() }).await.unwrap().unwrap();
        assert_eq!([state.updated_at, product.updated_at, purchases[0].purchased_at], [ahead; 3]);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_collides_does_so_alone() {
    let shop = Shop::open().await;
    let store = shop.store().await;
    let products = sell(&shop, 5).await;
    // A rival has changed one product and stays open; another was sold to the last buyer before.
    let mut rival = rival_of(&store, &products[1]).await;
    let before = change(&products[3], 1).purchases.remove(0);
    store.purchases.insert_one(&before).await.unwrap();
    let change_of = |id: &String| {
        let mut change = change(id, if *id == products[3] { 2 } else { 1 });
        if *id == products[3] {
            change.purchases[1].user_id = before.user_id;
        }
        change
    };
    // Together in one transaction all of them fail, and nothing is written.
    let outcomes = together(&store, products.iter().map(change_of).collect()).await;
    assert!(outcomes.iter().all(Option::is_none));
    assert_eq!(store.purchases.count_documents(doc! {}).await.unwrap(), 1);
    // The committer finds out which ones are to blame.
    let limits = Limits::default().with(|limits| limits.purchases.commits_in_flight_max = 1);
    let outcomes = through_committer(&store, &limits, Arc::default(), products.iter().map(change_of)).await;
    assert!(matches!(outcomes[1], CommitOutcome::Transient(_)));
    assert!(matches!(outcomes[3], CommitOutcome::Duplicate));
    for index in [0, 2, 4] {
        assert!(is_committed(&outcomes[index]), "{index}");
        assert_eq!(shop.check_invariants(&products[index], 1).await, 1);
    }
    assert_eq!(shop.product(&products[3]).await["stock"], 10);
    rival.abort_transaction().await.unwrap();
    shop.close().await;
}

/// On one thread, so that the committer looks only after all changes have been sent.
#[tokio::test]
async fn who_has_collided_alone_shares_no_transaction_with_the_others() {
    let shop = Shop::open().await;
    let store = shop.store().await;
    let products = sell(&shop, 4).await;
    let mut rival = rival_of(&store, &products[1]).await;
    let limits = Limits::default().with(|limits| limits.purchases.commits_in_flight_max = 1);
    let metrics = Arc::new(Metrics::default());
    let changes = products.iter().map(|id| Change { has_collided: *id == products[1], ..change(id, 1) });
    let outcomes = through_committer(&store, &limits, metrics.clone(), changes).await;
    assert!(matches!(outcomes[1], CommitOutcome::Transient(_)));
    assert!([0, 2, 3].iter().all(|index| is_committed(&outcomes[*index])));
    let counts = transactions(&metrics);
    assert!(counts.contains("products_sum 4.0") && counts.contains("products_count 2"), "{counts}");
    assert_eq!(metrics.transactions_split.get(), 0);
    rival.abort_transaction().await.unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_sessions_do_for_all_transactions() {
    let shop = Shop::open().await;
    let store = shop.store().await;
    let product = shop.sell(&sneaker_with(json!({"stock": 10}))).await;
    let buyer = Id::new();
    let change_by = |buyer: Id, version: i64| {
        let mut change = change(&product, 1);
        change.state.version = version;
        change.purchases[0].user_id = buyer;
        change
    };
    let sessions = store.sale_sessions.ids();
    assert!(!sessions.is_empty());
    let mut outcomes = Vec::new();
    for _ in 0..=sessions.len() {
        // First committed, later stale; refused by the unique index; in conflict with a rival.
        outcomes.extend(together(&store, vec![change_by(buyer, 1)]).await);
        outcomes.extend(together(&store, vec![change_by(buyer, 2)]).await);
        let mut rival = rival_of(&store, &product).await;
        outcomes.extend(together(&store, vec![change_by(Id::new(), 2)]).await);
        rival.abort_transaction().await.unwrap();
    }
    let count =
        |wanted: fn(&CommitOutcome) -> bool| outcomes.iter().flatten().filter(|one| wanted(one)).count();
    assert_eq!(count(is_committed), 1);
    assert_eq!(count(|one| matches!(one, CommitOutcome::Stale)), sessions.len());
    assert_eq!(count(|one| matches!(one, CommitOutcome::Duplicate)), sessions.len() + 1);
    assert_eq!(count(|one| matches!(one, CommitOutcome::Transient(_))), sessions.len() + 1);
    assert_eq!(store.sale_sessions.ids(), sessions);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_never_committed() {
    let shop = Shop::open().await;
    let store = shop.store().await;
    let products = sell(&shop, 2).await;
    // Given up before the transaction has begun.
    let (pending, ticket) = pair(change(&products[0], 1), Instant::now());
    assert!(matches!(ticket.outcome().await, CommitOutcome::NotBegun));
    assert!(!pending.begin());
    // Given up while the transaction is prepared: everything that shares the transaction is dropped with it.
    let (late, ticket) = pair(change(&products[0], 1), Instant::now());
    let (other, others_ticket) = pair(change(&products[1], 1), soon());
    assert!(late.begin() && other.begin());
    assert!(matches!(ticket.outcome().await, CommitOutcome::Failed(None)));
    assert!(transact(&store, vec![other, late]).await.is_empty());
    // The other change may be tried again at once.
    assert!(matches!(others_ticket.outcome().await, CommitOutcome::Stale));
    assert_eq!(store.purchases.count_documents(doc! {}).await.unwrap(), 0);
    // Once the commit has been sent, it cannot be taken back.
    let (pending, ticket) = pair(change(&products[0], 1), Instant::now());
    assert!(pending.begin() && pending.begin_commit());
    assert!(matches!(ticket.outcome().await, CommitOutcome::Unknown));
    shop.close().await;
}

/// On one thread, so that the committer looks only after all changes have been sent.
#[tokio::test]
async fn what_waits_meanwhile_shares_the_next_transaction() {
    let limits = Limits::default().with(|limits| {
        limits.purchases.commits_in_flight_max = 1;
        limits.purchases.transaction_products_max = 3;
    });
    let shop = Shop::open().await;
    let store = shop.store().await;
    let products = sell(&shop, 8).await;
    let metrics = Arc::new(Metrics::default());
    let changes = products.iter().map(|id| change(id, 1));
    let outcomes = through_committer(&store, &limits, metrics.clone(), changes).await;
    assert!(outcomes.iter().all(is_committed));
    let counts = transactions(&metrics);
    assert!(counts.contains("products_sum 8.0") && counts.contains("products_count 3"), "{counts}");
    for id in &products {
        assert_eq!(shop.check_invariants(id, 1).await, 1);
    }
    shop.close().await;
}

/// On one thread: the committer has every opportunity to begin without the latecomer.
#[tokio::test]
async fn a_round_waits_for_who_has_a_seat() {
    let shop = Shop::open().await;
    let store = shop.store().await;
    let products = sell(&shop, 2).await;
    let metrics = Arc::new(Metrics::default());
    let changes = (change(&products[0], 1), change(&products[1], 1));
    let (first, second) =
        with_committer(&store, &Limits::default(), metrics.clone(), async |commits: &Commits| {
            let seat = commits.slot().await;
            let computing = async {
                for _ in 0..1_000 {
                    tokio::task::yield_now().await;
                }
                // From here on it waits, as a lane does for its outcome.
                join(commits.commit(changes.1, soon()), async { drop(seat) }).await.0
            };
            join(commits.commit(changes.0, soon()), computing).await
        })
        .await;
    assert!(is_committed(&first) && is_committed(&second));
    let counts = transactions(&metrics);
    assert!(counts.contains("products_sum 2.0") && counts.contains("products_count 1"), "{counts}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_sell_the_same_many_products() {
    // Each server gets more at once than it lets in whatever wait it predicts.
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let mut products = Vec::new();
    for _ in 0..30 {
        products.push(shop.sell(&sneaker()).await);
    }
    let answers = join_all((0..300).map(|number| {
        let (buyer, id) = (shop.at(&shop.buyer(), number % 2), products[number % products.len()].clone());
        async move { buyer.purchase(&id).await }
    }))
    .await;
    assert!(answers.iter().all(|answer| answer.status == 201), "{answers:?}");
    for id in &products {
        assert_eq!(shop.check_invariants(id, 1).await, 10);
    }
    shop.close().await;
}

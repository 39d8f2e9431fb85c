//! The edges of a sale, by the database's clock.

use flash_sale::model::timestamp::Timestamp;
use serde_json::{Value, json};

use crate::harness::{Actor, Shop, sneaker_with};

/// How long before the sale the buyers begin to press.
const BEFORE_MS: i64 = 3_000;
/// The length of the sale.
const SALE_MS: i64 = 3_000;

fn moment(value: &Value) -> Timestamp {
    Timestamp::parse(value.as_str().unwrap()).unwrap()
}

async fn now(actor: &Actor) -> Timestamp {
    moment(&actor.get("/time").await.expect(200).json["now"])
}

/// The server's clock is never ahead of the database's: once it says that the sale is on, a purchase must succeed,
/// and once it says that the sale is over, none may. All purchases lie within the window, to the millisecond.
#[tokio::test(flavor = "multi_thread")]
async fn a_sale_opens_and_closes_to_the_millisecond() {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    let visitor = shop.visitor();
    let start = Timestamp::from_milliseconds(now(&visitor).await.milliseconds() + BEFORE_MS);
    let end = Timestamp::from_milliseconds(start.milliseconds() + SALE_MS);
    let times =
        json!({"saleStartTime": start, "saleEndTime": end, "stock": 1_000_000_000, "purchaseLimit": 1});
    let id = shop.sell(&sneaker_with(times)).await;
    assert_eq!(shop.product(&id).await["status"], "upcoming");
    let press = async |server: usize| {
        let (mut early, mut bought, mut late) = (0, Vec::new(), 0);
        while late < 3 {
            let buyer = shop.at(&shop.buyer(), server);
            let before = now(&buyer).await;
            let answer = buyer.purchase(&id).await;
            match answer.code() {
                "sale_not_started" => {
                    assert!(before < start, "refused as too early after {before}, the start is {start}");
                    assert_eq!(moment(&answer.json["saleStartTime"]), start);
                    assert!(bought.is_empty(), "the sale has closed again before it ended");
                    early += 1;
                }
                "sale_ended" => {
                    assert_eq!(moment(&answer.json["saleEndTime"]), end);
                    late += 1;
                }
                _ => {
                    assert!(before < end, "sold after {before}, the end is {end}");
                    bought.push(moment(&answer.expect(201).json["purchasedAt"]));
                }
            }
        }
        assert!(early > 0 && !bought.is_empty(), "{early} early, {} bought", bought.len());
        assert!(
            bought.iter().all(|at| (start..end).contains(at)),
            "bought outside of {start} to {end}: {bought:?}"
        );
    };
    tokio::join!(press(0), press(1));
    assert_eq!(shop.product(&id).await["status"], "ended");
    shop.check_invariants(&id, 1).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_before_the_start_says_when_to_come_back() {
    let shop = Shop::open().await;
    let start = Timestamp::from_milliseconds(now(&shop.visitor()).await.milliseconds() + 3_600_000);
    let id = shop.sell(&sneaker_with(json!({"saleStartTime": start}))).await;
    let refused = shop.buyer().purchase(&id).await.problem(409, "sale_not_started");
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((3_590..=3_600).contains(&seconds), "{seconds}");
    shop.close().await;
}

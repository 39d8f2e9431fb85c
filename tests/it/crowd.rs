//! A crowd that arrives in the same second.

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Answer, Shop, patient, sneaker_with};

/// As many as fit: each holds a connection open, and the limit on open files bounds those.
const BUYERS: usize = 2_000;

fn count(answers: &[Answer], code: &str) -> usize {
    answers.iter().filter(|answer| answer.code() == code).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_buyers_of_a_hundred_units_on_two_servers() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({"stock": 100}))).await;
    let answers = join_all((0..BUYERS).map(|number| {
        let (buyer, id) = (shop.at(&shop.buyer(), number % 2), id.clone());
        tokio::spawn(async move { buyer.purchase(&id).await })
    }))
    .await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    let others: Vec<_> = answers.iter().filter(|answer| !matches!(answer.code(), "" | "sold_out")).collect();
    assert!(others.is_empty(), "{} others, the first: {:?}", others.len(), others[0]);
    assert_eq!((count(&answers, ""), count(&answers, "sold_out")), (100, BUYERS - 100));
    let mut sequences: Vec<_> =
        answers.iter().filter_map(|answer| answer.json["sequence"].as_i64()).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=100).collect::<Vec<_>>());
    assert_eq!(shop.check_invariants(&id, 1).await, 100);
    assert_eq!(shop.leaderboard(&id).await.len(), 100);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn buyers_who_press_again_and_again_never_pass_the_limit() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({"stock": 100, "purchaseLimit": 3}))).await;
    // 200 buyers press ten times each, for one, two or three units, on both servers, all at once.
    let buyers: Vec<_> = (0..BUYERS / 10).map(|_| shop.buyer()).collect();
    let answers = join_all((0..BUYERS).map(|number| {
        let (buyer, id) = (shop.at(&buyers[number % buyers.len()], number / buyers.len() % 2), id.clone());
        let quantity = i64::try_from(number % 3).unwrap() + 1;
        tokio::spawn(async move { buyer.purchase_many(&id, quantity).await })
    }))
    .await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    let sold: i64 = answers
        .iter()
        .filter_map(|answer| answer.json["sequence"].as_i64().and(answer.json["quantity"].as_i64()))
        .sum();
    let refusals = ["sold_out", "insufficient_stock", "purchase_limit_reached"];
    let refused: usize = refusals.iter().map(|code| count(&answers, code)).sum();
    assert_eq!(count(&answers, "") + refused, BUYERS);
    assert_eq!(shop.check_invariants(&id, 3).await, sold);
    assert_eq!(sold, 100);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_products_are_sold_at_once() {
    let shop = Shop::open_with(patient()).await;
    let mut products = Vec::new();
    for _ in 0..20 {
        products.push(shop.sell(&sneaker_with(json!({"stock": 10}))).await);
    }
    let answers = join_all((0..400).map(|number| {
        let (buyer, id) = (shop.buyer(), products[number % products.len()].clone());
        async move { buyer.purchase(&id).await }
    }))
    .await;
    assert_eq!((count(&answers, ""), count(&answers, "sold_out")), (200, 200));
    for id in &products {
        assert_eq!(shop.check_invariants(id, 1).await, 10);
    }
    shop.close().await;
}

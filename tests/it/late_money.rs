//! Money that comes late, twice, out of order, or with the wrong amount: nobody's is lost without a trace.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Shop, patient};
use crate::payments::{held, id_of};

#[tokio::test(flavor = "multi_thread")]
async fn late_money_takes_the_units_again() {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    let id = shop.sell(&held(json!({"stock": 2}))).await;
    let (ada, payments, admin) = (shop.buyer(), shop.payment_service(), shop.admin());
    let purchase = id_of(&ada.purchase_many(&id, 2).await.expect(201).json);
    ada.cancel(&purchase).await.expect(200);
    // Neither the window of the sale nor a pause matters.
    let over = json!({"saleEndTime": "2025-01-02T00:00:00Z", "paused": true});
    admin.patch(&format!("/products/{id}"), "*", &over).await.expect(200);
    let confirmed = shop.at(&payments, 1).confirm(&purchase, "pi_1").await.expect(200).json;
    assert_eq!((&confirmed["status"], &confirmed["sequence"]), (&json!("confirmed"), &json!(1)));
    assert_eq!(payments.confirm(&purchase, "pi_1").await.expect(200).json, confirmed);
    let product = shop.product(&id).await;
    assert_eq!((&product["stock"], &product["sold"]), (&json!(0), &json!(2)));
    // Whoever pays late has let nothing lapse.
    let yours = ada.get(&format!("/products/{id}")).await.expect(200).json;
    assert_eq!(yours["yours"], json!({"purchased": 2, "remaining": 0, "lapses": 0}));
    assert_eq!(shop.leaderboard(&id).await.len(), 1);
    shop.check_invariants(&id, 2).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_for_which_nothing_is_left_is_noted() {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    let (ada, payments) = (shop.buyer(), shop.payment_service());
    // The stock is gone, or the limit is used up.
    for (stock, same_buyer) in [(2, false), (4, true)] {
        let id = shop.sell(&held(json!({"stock": stock}))).await;
        let purchase = id_of(&ada.purchase_many(&id, 2).await.expect(201).json);
        ada.cancel(&purchase).await.expect(200);
        let next = if same_buyer { ada.clone() } else { shop.buyer() };
        let next = id_of(&next.purchase_many(&id, 2).await.expect(201).json);
        for server in [0, 1, 0] {
            let refused = shop.at(&payments, server).confirm(&purchase, "pi_1").await;
            let refused = refused.problem(409, "payment_unfillable");
            assert_eq!(refused.json["purchaseStatus"], "canceled");
            shop.at(&payments, server).confirm(&purchase, "pi_2").await.problem(409, "purchase_not_pending");
        }
        let noted = ada.get(&format!("/purchases/{purchase}")).await.expect(200).json;
        assert_eq!((&noted["status"], &noted["refundDue"]), (&json!("canceled"), &json!(true)));
        assert_eq!(noted["paymentReference"], "pi_1");
        // It stays so, though there is room again: the money may have gone back.
        shop.admin().cancel(&next).await.expect(200);
        payments.confirm(&purchase, "pi_1").await.problem(409, "payment_unfillable");
        assert_eq!(due(&shop, &id).await, std::slice::from_ref(&purchase));
        // It is no refund of a purchase: nothing comes back, so nothing is given back a second time.
        let before = shop.product(&id).await;
        for _ in 0..2 {
            let returned = shop.admin().refund(&purchase, &json!({})).await.expect(200).json;
            assert_eq!((&returned["status"], &returned["refundDue"]), (&json!("canceled"), &json!(false)));
            assert_eq!(returned["paymentReference"], "pi_1");
        }
        assert_eq!(shop.product(&id).await["stock"], before["stock"]);
        assert!(due(&shop, &id).await.is_empty());
        payments.confirm(&purchase, "pi_1").await.problem(409, "payment_unfillable");
        shop.check_invariants(&id, 2).await;
    }
    shop.close().await;
}

/// The purchases of a product whose money has to go back.
async fn due(shop: &Shop, product: &str) -> Vec<String> {
    let path = format!("/purchases?productId={product}&refundDue=true");
    let page = shop.admin().get(&path).await.expect(200).json;
    page["items"].as_array().unwrap().iter().map(id_of).collect()
}

/// A payment provider that tells late, twice, out of order, of wrong amounts, and at both servers at once, while buyers
/// give up and buy again.
#[tokio::test(flavor = "multi_thread")]
async fn a_careless_payment_provider_does_no_harm() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&held(json!({"stock": 20, "purchaseLimit": 3}))).await;
    let payments = shop.payment_service();
    let living = (0..24_usize).map(|number| {
        let (buyer, id) = (shop.buyer(), &id);
        let (here, there) = (shop.at(&buyer, number % 2), shop.at(&buyer, (number + 1) % 2));
        let told = [shop.at(&payments, number % 2), shop.at(&payments, (number + 1) % 2)];
        let shop = &shop;
        async move {
            for round in 0..3_usize {
                let bought = here.purchase(id).await;
                if bought.status != 201 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
                let purchase = id_of(&bought.json);
                let reference = format!("pi_{purchase}");
                let path = format!("/purchases/{purchase}/confirm");
                let wrong = json!({"paymentReference": reference, "amount": 1});
                told[0].post(&path, &wrong).await.problem(422, "amount_mismatch");
                match (number + round) % 4 {
                    0 => shop.let_expire(std::slice::from_ref(&purchase)).await,
                    1 => drop(there.cancel(&purchase).await.expect(200)),
                    _ => {}
                }
                if (number + round) % 5 == 0 {
                    continue;
                }
                let asked = told.iter().chain(&told).map(|server| server.confirm(&purchase, &reference));
                let answers = join_all(asked).await;
                // All hear the same, whichever came first.
                let decided = answers.iter().filter(|answer| answer.status != 503);
                let codes: std::collections::BTreeSet<_> =
                    decided.map(|answer| answer.code().to_owned()).collect();
                assert_eq!(codes.len(), 1, "{answers:#?}");
                assert!(["", "payment_unfillable"].contains(&codes.first().unwrap().as_str()), "{codes:?}");
                if codes.contains("payment_unfillable") {
                    let noted = here.get(&format!("/purchases/{purchase}")).await.expect(200).json;
                    assert_eq!(
                        (&noted["refundDue"], &noted["paymentReference"]),
                        (&json!(true), &json!(reference))
                    );
                }
            }
        }
    });
    join_all(living).await;
    shop.check_invariants(&id, 3).await;
    shop.close().await;
}

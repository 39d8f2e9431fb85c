//! Each value is accepted up to its bound and refused beyond it.

use serde_json::{Value, json};

use crate::harness::{Shop, sneaker, sneaker_with};

/// An address of this many characters, each part within its own bound.
fn email(characters: usize) -> String {
    let (part, label) = ("a".repeat(64), "a".repeat(45));
    let last = "b".repeat(characters - 65 - 3 * 46);
    format!("{part}@{label}.{label}.{label}.{last}")
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_account() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    let register = async |changes: Value| {
        let mut body = json!({"name": "Ada", "email": email(250), "password": "x".repeat(12)});
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        visitor.post("/auth/register", &body).await
    };
    let characters = |count: usize| "é".repeat(count);
    for (number, (name, good, bad)) in [
        ("name", vec!["A".to_owned(), characters(80)], vec![" ".to_owned(), characters(81)]),
        ("password", vec![characters(12), characters(128)], vec![characters(11), characters(129)]),
    ]
    .into_iter()
    .enumerate()
    {
        for (index, value) in good.into_iter().enumerate() {
            let address = format!("ada-{number}-{index}@shop.example");
            register(json!({name: value, "email": address})).await.expect(201);
        }
        for value in bad {
            register(json!({name: value})).await.invalid(&[name]);
        }
    }
    assert_eq!(email(254).len(), 254);
    register(json!({"email": email(254)})).await.expect(201);
    register(json!({"email": email(254).to_uppercase()})).await.problem(409, "email_taken");
    for bad in [email(255), "Ada <ada@shop.example>".into(), "ada@shop.example, eve@shop.example".into()] {
        register(json!({"email": bad})).await.invalid(&["email"]);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_product() {
    let shop = Shop::open().await;
    let admin = shop.admin();
    let characters = |count: usize| json!("é".repeat(count));
    let url = |count: usize| json!(format!("HTTPS://shop.example/{}", "x".repeat(count - 21)));
    let price = |amount: i64, currency: &str| json!({"amount": amount, "currency": currency});
    for (name, good, bad) in [
        ("name", vec![json!("A"), characters(200)], vec![characters(201)]),
        ("description", vec![json!(""), characters(5_000)], vec![characters(5_001)]),
        ("imageUrl", vec![url(2_048)], vec![url(2_049), json!("ftp://shop.example/a")]),
        ("stock", vec![json!(0), json!(1_000_000_000)], vec![json!(1_000_000_001)]),
        ("purchaseLimit", vec![json!(1), json!(1_000)], vec![json!(0), json!(1_001)]),
        ("price.amount", vec![price(0, "USD"), price(1_000_000_000_000, "JPY")], vec![price(-1, "USD")]),
        ("price.currency", vec![], vec![price(1, "usd"), price(1, "ZZZ"), price(1, "US")]),
        ("originalPrice.amount", vec![price(0, "USD")], vec![price(1_000_000_000_001, "USD")]),
    ] {
        let member = name.split('.').next().unwrap();
        for value in good {
            let created = admin.post("/products", &sneaker_with(json!({member: value}))).await.expect(201);
            assert_eq!(created.json[member], value);
        }
        for value in bad {
            admin.post("/products", &sneaker_with(json!({member: value}))).await.invalid(&[name]);
        }
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_purchase_and_a_restock() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker_with(json!({"stock": 1_000, "purchaseLimit": 1_000}))).await;
    let (ada, admin, restock) = (shop.buyer(), shop.admin(), format!("/products/{id}/restock"));
    for quantity in [0, 1_001] {
        ada.purchase_many(&id, quantity).await.invalid(&["quantity"]);
        admin.post(&restock, &json!({"quantity": quantity})).await.invalid(&["quantity"]);
    }
    ada.purchase_many(&id, 1_000).await.expect(201);
    admin.post(&restock, &json!({"quantity": 1_000})).await.expect(200);
    shop.buyer().purchase_many(&id, 1_000).await.expect(201);
    shop.close().await;
}

/// JSON has one kind of number, and JSON Schema takes 2.0 for an integer, as the document says `quantity` is.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_number_may_have_a_fraction_of_zero() {
    let shop = Shop::open().await;
    let price = json!({"amount": 9900.0, "currency": "USD"});
    let id = shop.sell(&sneaker_with(json!({"stock": 5.0, "purchaseLimit": 3.0, "price": price}))).await;
    let ada = shop.buyer();
    let bought = ada.post("/products/purchase", &json!({"productId": id, "quantity": 2.0})).await.expect(201);
    assert_eq!(bought.json["quantity"].as_i64(), Some(2));
    let restocked =
        shop.admin().post(&format!("/products/{id}/restock"), &json!({"quantity": 1e1})).await.expect(200);
    assert_eq!(restocked.json["totalStock"].as_i64(), Some(15));
    ada.post("/products/purchase", &json!({"productId": id, "quantity": 1.5})).await.invalid(&["quantity"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_page() {
    let shop = Shop::open().await;
    // All sales start at the same moment, so the id decides the order.
    let mut ids = Vec::new();
    for _ in 0..53 {
        ids.push(shop.sell(&sneaker()).await);
    }
    ids.sort();
    let visitor = shop.visitor();
    let page = visitor.get("/products").await.expect(200).json;
    assert_eq!(page["items"].as_array().unwrap().len(), 50, "without a limit");
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = visitor.get(&format!("/products?limit=20{cursor}")).await.expect(200).json;
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, ids);
    assert_eq!(visitor.get("/products?limit=200").await.expect(200).json["nextCursor"], Value::Null);
    shop.close().await;
}

//! `flash-sale rehearse --window`: purchases that have to be paid for.

use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::harness::{Shop, process_directory, soon};
use crate::process::program;
use crate::rehearsal::{Ended, Rehearsal, address, at, nothing_is_left};

fn number(json: &Value) -> u64 {
    json.as_u64().unwrap_or_else(|| panic!("{json} is no count"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paid_for_canceled_and_let_go_adds_up_and_nothing_is_left() {
    let shop = Shop::open().await;
    // More buyers than units: what is given back is sold again while they come.
    let arguments = ["--buyers", "300", "--stock", "60", "--connections", "10", "--products", "2"];
    let payments = ["--repeat-share", "0.1", "--window", "3", "--pay-share", "0.5"];
    let rehearsal = at(&shop, &shop.settings(), &[&arguments[..], &payments].concat());
    let Ended { code, report, said } = Rehearsal::start(rehearsal).end();
    assert_eq!(code, Some(0), "{said}{report:#}");
    assert!(said.contains("what nobody has paid for expires"), "{said}");
    let verdict = &report["verdict"];
    assert_eq!(verdict["broken"], json!([]), "{report:#}");
    let standing = &verdict["standing"];
    let [confirmed, canceled, expired, pending] =
        ["confirmed", "canceled", "expired", "pending"].map(|status| number(&standing[status]));
    let purchases = number(&verdict["purchases"]);
    assert_eq!(confirmed + canceled + expired + pending, purchases, "{report:#}");
    // Half of all are paid for. Of the others every other one is canceled, unless it has expired before.
    let unfillable = number(&report["payments"]["unfillable"]);
    assert_eq!(unfillable, number(&standing["refundDue"]), "{report:#}");
    assert!(purchases >= 120 && (confirmed + unfillable).abs_diff(purchases / 2) <= 1, "{report:#}");
    let let_go = number(&report["payments"]["letGo"]);
    assert!(let_go.abs_diff(purchases / 4) <= 1 && expired >= let_go && canceled > 0, "{report:#}");
    assert_eq!(pending, 0, "{report:#}");
    assert_eq!(
        (&report["payments"]["windowSeconds"], &report["payments"]["payShare"]),
        (&json!(3), &json!(0.5))
    );
    let kinds: Vec<_> =
        report["payments"]["answers"].as_array().unwrap().iter().map(|row| row["kind"].clone()).collect();
    assert_eq!(kinds, ["payment", "cancel"]);
    nothing_is_left(&shop).await;
    // Nor in the audit log, which told each step.
    let audit = shop.database().await.collection::<Document>("audit");
    assert_eq!(audit.count_documents(doc! { "action": { "$regex": "^purchase_" } }).await.unwrap(), 0);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_long_window_what_is_let_go_is_still_held_and_that_is_said() {
    let shop = Shop::open().await;
    let arguments = ["--buyers", "40", "--stock", "100", "--connections", "4", "--repeat-share", "0"];
    let mut rehearsal = at(&shop, &shop.settings(), &arguments);
    rehearsal.args(["--window", "900", "--pay-share", "0"]);
    let Ended { code, report, said } = Rehearsal::start(rehearsal).end();
    assert_eq!(code, Some(0), "{said}{report:#}");
    assert!(!said.contains("what nobody has paid for expires"), "{said}");
    let standing = json!({"confirmed": 0, "canceled": 20, "expired": 0, "pending": 20, "refundDue": 0});
    assert_eq!(report["verdict"]["standing"], standing, "{report:#}");
    // The same for people.
    let mut for_people = program(&process_directory("rehearsal-for-people"), &shop.settings());
    for_people.args(["rehearse", "--url", &address(&shop), "--window", "900"]).args(arguments);
    let output = for_people.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("36 confirmed, 2 canceled, 0 expired, 2 held and not yet due"), "{told}");
    assert!(told.contains("every payment is on record once"), "{told}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn books_that_were_changed_behind_the_back_are_broken_promises() {
    // What is changed while the crowd buys, and what is said of it.
    let cases = [
        (
            doc! { "status": "confirmed" },
            doc! { "$set": { "paymentReference": "pi_1" } },
            "are not as their payment",
        ),
        (
            doc! { "status": "confirmed" },
            doc! { "$set": { "status": "expired" } },
            "are not as their payment",
        ),
        (
            doc! { "status": "pending" },
            doc! { "$set": { "status": "confirmed" } },
            "units as sold, its purchases",
        ),
        (doc! { "status": "canceled" }, doc! { "$set": { "status": "pending" } }, "as held, its purchases"),
    ];
    let shop = Shop::open().await;
    for (query, update, words) in cases {
        let mut rehearsal = at(&shop, &shop.settings(), &["--buyers", "60", "--rate", "20"]);
        rehearsal.args(["--window", "900", "--pay-share", "0.6"]);
        let mut rehearsal = Rehearsal::start(rehearsal);
        rehearsal.wait_for("the crowd buys");
        let purchases = shop.database().await.collection::<Document>("purchases");
        let edit = async {
            while purchases.update_one(query.clone(), update.clone()).await.unwrap().modified_count == 0 {}
        };
        soon("a purchase to change", edit).await;
        let Ended { code, report, said } = rehearsal.end();
        assert_eq!(code, Some(1), "{words}: {said}{report:#}");
        let broken = report["verdict"]["broken"].to_string();
        assert!(broken.contains(words), "{words}: {broken}");
    }
    shop.close().await;
}

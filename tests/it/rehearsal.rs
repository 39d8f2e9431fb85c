//! `flash-sale rehearse`, as a person runs it.

use serde_json::Value;

use crate::harness::{Shop, process_directory};
use crate::process::program;

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_sells_out_keeps_its_promises_and_leaves_nothing() {
    let directory = process_directory("rehearsal");
    let plot = directory.join("plot.svg");
    let output = program(&directory, &[])
        .args(["rehearse", "--buyers", "300", "--stock", "100", "--connections", "20", "--products", "2"])
        .args(["--repeat-share", "0.1", "--json", "--plot"])
        .arg(&plot)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["verdict"]["broken"], serde_json::json!([]), "{report:#}");
    assert_eq!(report["verdict"]["purchases"], 200);
    let count = |kind: &str| -> u64 {
        let answers = report["answers"].as_array().unwrap().iter();
        answers.filter(|answer| answer["kind"] == kind).map(|answer| answer["count"].as_u64().unwrap()).sum()
    };
    assert_eq!((count("bought"), count("sold out") + count("limit reached") + count("replayed")), (200, 130));
    assert!(std::fs::read_to_string(plot).unwrap().starts_with("<svg"));
    // Nothing of it is left.
    let mongo = flash_sale::embedded::EmbeddedMongo::start(&directory.join("data")).await.unwrap();
    let shop = Shop::open_in(&mongo.uri(), "flashsale").await;
    assert_eq!(shop.visitor().get("/products").await.expect(200).json["items"], serde_json::json!([]));
    assert_eq!(shop.visitor().get("/leaderboard").await.expect(200).json["items"], serde_json::json!([]));
    shop.close().await;
    mongo.stop().await;
}

#[test]
fn a_rehearsal_that_makes_no_sense_is_refused() {
    let directory = process_directory("rehearsal-refused");
    for arguments in
        [["--buyers", "0"], ["--repeat-share", "2"], ["--rate", "0"], ["--url", "https://shop.example"]]
    {
        let output = program(&directory, &[]).arg("rehearse").args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{said}");
        assert!(said.contains(arguments[0]), "{said}");
    }
}

//! `flash-sale admin`, the program itself.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::json;

use crate::harness::{Actor, PASSWORD, Shop, process_directory, sneaker};
use crate::process::{Running, program};

const NEW_PASSWORD: &str = "incorrect zebra battery";

/// Runs the program with these arguments and this standard input.
fn admin(directory: &Path, settings: &[(&str, &str)], arguments: &[&str], input: &str) -> Output {
    let mut command = program(directory, settings);
    let mut child = command.arg("admin").args(arguments).stdin(Stdio::piped()).spawn().unwrap();
    // Closed at the end of the statement. A program that refuses its arguments does not read it.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

#[track_caller]
fn exits(output: &Output, code: i32, says: &str) {
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(says), "{said}");
    assert!(!said.contains(PASSWORD) && !said.contains(NEW_PASSWORD), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_is_created_and_an_address_that_somebody_has_taken_is_no_dead_end() {
    let shop = Shop::open().await;
    let directory = process_directory("admin");
    let settings = shop.settings();
    let run = |arguments: &[&str], input: &str| admin(&directory, &settings, arguments, input);
    exits(&run(&["create", "Grace@Shop.Example", "--name", "Grace Hopper"], PASSWORD), 0, "created");
    let grace = shop.login(("grace@shop.example", PASSWORD)).await;
    grace.post("/products", &sneaker()).await.expect(201);
    assert_eq!(grace.get("/auth/me").await.expect(200).json["name"], "Grace Hopper");

    // Somebody else has registered the address of the next one.
    let stranger = shop.account("ada@shop.example").await;
    exits(&run(&["create", "ada@shop.example"], NEW_PASSWORD), 1, "admin promote");
    exits(&run(&["promote", "ada@shop.example"], &format!("{NEW_PASSWORD}\r\n")), 0, "an admin now");
    // The stranger has nothing of it.
    crate::access::is_refused_in_time(&stranger, "unauthenticated").await;
    stranger.post("/products", &sneaker()).await.problem(401, "unauthenticated");
    let old = json!({ "email": "ada@shop.example", "password": PASSWORD });
    shop.visitor().post("/auth/login", &old).await.problem(401, "invalid_credentials");
    let ada = shop.login(("ada@shop.example", NEW_PASSWORD)).await;
    ada.post("/products", &sneaker()).await.expect(201);

    exits(&run(&["promote", "nobody@shop.example"], NEW_PASSWORD), 1, "no account has this address");
    exits(&run(&["create", "eve@shop.example"], "short"), 2, "12 to 128");
    exits(&run(&["create", "eve"], PASSWORD), 2, "not an e-mail address");
    exits(&run(&["create", "eve@shop.example", "--password", PASSWORD], ""), 2, "unexpected argument");
    exits(&run(&["create", "eve@shop.example", "--name", " "], PASSWORD), 2, "1 to 80");
    exits(&run(&["--help"], ""), 0, "promote");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_on_the_embedded_database_while_the_server_runs_and_while_not() {
    let directory = process_directory("admin-embedded");
    exits(&admin(&directory, &[], &["create", "grace@shop.example"], PASSWORD), 0, "created");
    let server = Running::start_with(&directory, &[]);
    exits(&admin(&directory, &[], &["create", "ada@shop.example"], NEW_PASSWORD), 0, "created");
    let visitor = Actor::of(&server.base, flash_sale::model::id::Id::new(), None);
    for (email, password) in [("grace@shop.example", PASSWORD), ("ada@shop.example", NEW_PASSWORD)] {
        let body = json!({ "email": email, "password": password });
        let session = visitor.post("/auth/login", &body).await.expect(200).json;
        assert_eq!(session["user"]["role"], "admin");
    }
    server.stop();
}

//! The actors of the tests.

mod actor;
mod answer;
mod books;
mod browser;
mod document;
mod mongo;
mod raw;
mod schema;
mod shop;
mod watch;
mod webdriver;
mod wire;

pub use actor::Actor;
pub use answer::{Answer, metric, until_ready};
pub use browser::{Browser, ENTER, TAB, no_browser};
pub use document::document;
pub use mongo::{
    FailingMongo, OWN_DATABASE, database_uri, drop_database, hosts_of, own_mongo, process_directory, signal,
    with_host,
};
pub use raw::RawConnection;
pub use schema::{asyncapi, check_answer, check_message};
pub use shop::{ADMIN, PASSWORD, SECRET, Shop, bounded, foreign_token, patient, token, token_under};
pub use watch::{Event, EventStream, Socket, UPGRADE, Watcher, soon};
pub use wire::Wire;

use serde_json::{Value, json};

/// A new product as an admin sends it: on sale for years, 100 units, at most one for each buyer.
pub fn sneaker() -> Value {
    json!({
        "name": "Limited sneaker",
        "price": { "amount": 9900, "currency": "USD" },
        "stock": 100,
        "saleStartTime": "2025-01-01T00:00:00Z",
        "saleEndTime": "2099-12-31T00:00:00Z",
    })
}

/// A sneaker with some members replaced.
pub fn sneaker_with(changes: Value) -> Value {
    let mut product = sneaker();
    for (name, value) in changes.as_object().expect("an object") {
        product[name] = value.clone();
    }
    product
}

/// A valid id that no document has.
pub const NO_ID: &str = "65f1c0ffee65f1c0ffee65f1";

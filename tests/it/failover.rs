//! Another member of the replica set becomes the primary.

use mongodb::Client;
use mongodb::bson::{Document, doc};

use crate::harness::{Shop, sneaker, soon, until_ready};
use crate::process::ForeignMongod;

/// The fail point that stops a member from replicating.
const FOLLOWS_NOBODY: &str = "stopReplProducer";

/// One of the two members of the replica set.
struct Member {
    mongod: ForeignMongod,
    client: Client,
}

impl Member {
    async fn start(name: &str) -> Self {
        let arguments = ["--replSet", "rs", "--setParameter", "enableTestCommands=1"];
        let mongod = ForeignMongod::start(name, &arguments).await;
        let uri = format!("mongodb://{}/?directConnection=true", mongod.host());
        Self { client: Client::with_uri_str(uri).await.unwrap(), mongod }
    }

    async fn run(&self, command: Document) -> mongodb::error::Result<Document> {
        self.client.database("admin").run_command(command).await
    }

    async fn until_primary(&self) {
        let is_primary =
            |hello: Document| hello.get_bool("isWritablePrimary").is_ok_and(|is_primary| is_primary);
        soon("a primary", async { while !self.run(doc! { "hello": 1 }).await.is_ok_and(is_primary) {} })
            .await;
    }

    async fn fail(&self, name: &str, mode: &str) {
        self.run(doc! { "configureFailPoint": name, "mode": mode }).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_primary_is_read_once_it_has_committed() {
    let (first, second) = (Member::start("failover-first").await, Member::start("failover-second").await);
    let hosts = [first.mongod.host(), second.mongod.host()];
    let members = [
        doc! { "_id": 0, "host": &hosts[0], "priority": 2 },
        doc! { "_id": 1, "host": &hosts[1], "priority": 1 },
    ];
    // Short intervals: the defaults take seconds.
    let settings = doc! { "heartbeatIntervalMillis": 100, "electionTimeoutMillis": 1_000 };
    let set = doc! { "_id": "rs", "members": members.to_vec(), "settings": settings };
    first.run(doc! { "replSetInitiate": set }).await.unwrap();
    first.until_primary().await;
    let shop = Shop::open_at(&format!("mongodb://{}/?replicaSet=rs", hosts.join(","))).await;
    let id = shop.sell(&sneaker()).await;
    let (ada, path) = (shop.buyer(), format!("/products/{id}"));
    let bought = ada.purchase_with_key(&id, 1, "press-1").await.expect(201).json;
    // Nothing that the next primary writes reaches a majority.
    first.fail(FOLLOWS_NOBODY, "alwaysOn").await;
    first.run(doc! { "replSetStepDown": 600 }).await.unwrap();
    second.until_primary().await;
    until_ready(&ada, 503).await;
    // So the new primary may not know the latest commits. With two members it would answer nevertheless.
    for path in [&path, "/purchases", "/leaderboard"] {
        ada.get(path).await.problem(503, "database_unavailable");
    }
    first.fail(FOLLOWS_NOBODY, "off").await;
    until_ready(&ada, 200).await;
    assert_eq!(ada.get("/purchases").await.expect(200).json["items"][0], bought);
    assert_eq!(ada.get(&path).await.expect(200).json["sold"], 1);
    let again = ada.purchase_with_key(&id, 1, "press-1").await.expect(201);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    shop.buyer().purchase(&id).await.expect(201);
    assert_eq!(shop.check_invariants(&id, 1).await, 2);
    shop.close().await;
}

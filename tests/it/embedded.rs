//! The lock of the embedded MongoDB: another user of the machine reaches its port, and gets no further.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use flash_sale::embedded::EmbeddedMongo;
use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::{Client, Database};

use crate::harness::{FailingMongo, OWN_DATABASE, Shop, hosts_of, own_mongo, process_directory, sneaker};
use crate::process::{ForeignMongod, Running, mongod_of};

/// MongoDB's error code for a command that the user may not run.
const UNAUTHORIZED: i32 = 13;

async fn database(uri: &str, name: &str) -> Database {
    Client::with_uri_str(uri).await.unwrap().database(name)
}

async fn is_refused(database: &Database, command: Document) {
    let error = database.run_command(command.clone()).await.expect_err(&format!("{command} succeeds"));
    let ErrorKind::Command(error) = error.kind.as_ref() else { panic!("{command}: {error}") };
    assert_eq!(error.code, UNAUTHORIZED, "{command}: {error}");
}

/// Fails if somebody who knows the port alone can read, write, or learn or change anything else.
async fn is_locked(hosts: &str) {
    let uri = format!("mongodb://{hosts}/?directConnection=true");
    let shop = database(&uri, OWN_DATABASE).await;
    for command in [
        doc! { "find": "users" },
        doc! { "aggregate": "users", "pipeline": [], "cursor": {} },
        doc! { "insert": "users", "documents": [{ "role": "admin" }] },
        doc! { "update": "users", "updates": [{ "q": {}, "u": { "$set": { "role": "admin" } } }] },
        doc! { "delete": "users", "deletes": [{ "q": {}, "limit": 0 }] },
        doc! { "create": "mine" },
        doc! { "listCollections": 1 },
        doc! { "dropDatabase": 1 },
        doc! { "createUser": "eve", "pwd": "eve", "roles": ["readWrite"] },
    ] {
        is_refused(&shop, command).await;
    }
    let admin = database(&uri, "admin").await;
    for command in [
        doc! { "createUser": "eve", "pwd": "eve", "roles": ["root"] },
        doc! { "grantRolesToUser": "flash-sale", "roles": ["root"] },
        doc! { "usersInfo": 1 },
        doc! { "listDatabases": 1 },
        doc! { "serverStatus": 1 },
        doc! { "currentOp": 1 },
        doc! { "getLog": "global" },
        doc! { "replSetGetConfig": 1 },
        doc! { "replSetInitiate": {} },
        doc! { "setParameter": 1, "enableLocalhostAuthBypass": true },
        doc! { "shutdown": 1, "force": true },
    ] {
        is_refused(&admin, command).await;
    }
}

/// Fails if the connection string opens anything.
async fn opens_nothing(uri: &str) {
    let error = database(uri, OWN_DATABASE).await.run_command(doc! { "find": "users" }).await.unwrap_err();
    assert!(matches!(error.kind.as_ref(), ErrorKind::Authentication { .. }), "{error}");
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_the_password_also_after_a_restart() {
    let mongo = own_mongo("locked").await;
    let uri = mongo.uri();
    is_locked(hosts_of(uri.reveal())).await;
    let notes = database(uri.reveal(), OWN_DATABASE).await.collection::<Document>("notes");
    notes.insert_one(doc! { "_id": 1 }).await.unwrap();
    for unknown in ["0".repeat(64), String::from("x")] {
        let (before, after) = uri.reveal().split_once('@').unwrap();
        let user = before.rsplit_once(':').unwrap().0;
        opens_nothing(&format!("{user}:{unknown}@{after}")).await;
        let system = mongo.system_uri().reveal().replacen(key_in("locked").trim(), &unknown, 1);
        opens_nothing(&system).await;
    }
    mongo.stop().await;

    let mongo = own_mongo("locked").await;
    assert_eq!(mongo.uri(), uri, "people's tools keep the connection string");
    is_locked(hosts_of(uri.reveal())).await;
    let notes = database(uri.reveal(), OWN_DATABASE).await.collection::<Document>("notes");
    assert_eq!(notes.count_documents(doc! {}).await.unwrap(), 1);
    for file in ["mongodb-uri", "mongodb-key"] {
        assert_eq!(mode(&process_directory("locked").join(file)), 0o600, "{file}");
    }
    mongo.stop().await;
}

fn key_in(name: &str) -> String {
    fs::read_to_string(process_directory(name).join("mongodb-key")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_servers_may_use_one_database() {
    let mongo = own_mongo("least").await;
    let uri = mongo.uri();
    let admin = database(uri.reveal(), "admin").await;
    for command in [
        doc! { "createUser": "eve", "pwd": "eve", "roles": [] },
        doc! { "grantRolesToUser": "flash-sale", "roles": ["root"] },
        doc! { "serverStatus": 1 },
        doc! { "setParameter": 1, "logLevel": 1 },
        doc! { "shutdown": 1 },
    ] {
        is_refused(&admin, command).await;
    }
    let other = database(uri.reveal(), "other").await;
    is_refused(&other, doc! { "insert": "notes", "documents": [{}] }).await;
    is_refused(&other, doc! { "find": "notes" }).await;
    mongo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_make_himself_the_first_user() {
    let mongo = own_mongo("first-user").await;
    let system = database(mongo.system_uri().reveal(), "admin").await;
    system.run_command(doc! { "dropAllUsersFromDatabase": 1 }).await.unwrap();
    // As between the start of mongod and the creation of the servers' user.
    let mongo = FailingMongo::restart(mongo, &[]).await;
    mongo.ready().await;
    is_locked(hosts_of(&mongo.uri)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_or_exposed_files_lock_nobody_out_and_open_to_nobody() {
    let directory = process_directory("lost");
    let mongo = own_mongo("lost").await;
    let first = mongo.uri();
    mongo.stop().await;
    // As after a crash between the creation of the user and the first time that its password is written.
    fs::remove_file(directory.join("mongodb-uri")).unwrap();
    fs::remove_file(directory.join("mongodb-key")).unwrap();
    let mongo = own_mongo("lost").await;
    let second = mongo.uri();
    opens_nothing(first.reveal()).await;
    database(second.reveal(), OWN_DATABASE).await.run_command(doc! { "find": "users" }).await.unwrap();
    mongo.stop().await;

    for file in ["mongodb-uri", "mongodb-key"] {
        fs::set_permissions(directory.join(file), Permissions::from_mode(0o644)).unwrap();
    }
    let read_by_others = key_in("lost");
    let mongo = own_mongo("lost").await;
    opens_nothing(second.reveal()).await;
    assert_ne!(key_in("lost"), read_by_others);
    for file in ["mongodb-uri", "mongodb-key"] {
        assert_eq!(mode(&directory.join(file)), 0o600, "{file}");
    }
    database(mongo.uri().reveal(), OWN_DATABASE).await.run_command(doc! { "find": "users" }).await.unwrap();
    mongo.stop().await;
}

/// The data of an earlier version, without users, in which somebody has made himself one.
async fn data_of_an_earlier_version(directory: &str) {
    let mongod =
        ForeignMongod::start(&format!("{directory}/data/mongodb"), &["--replSet", "flash-sale"]).await;
    let uri = format!("mongodb://{}/?directConnection=true", mongod.host());
    let admin = database(&uri, "admin").await;
    let members = vec![doc! { "_id": 0, "host": mongod.host() }];
    let set = doc! { "_id": "flash-sale", "members": members };
    admin.run_command(doc! { "replSetInitiate": set }).await.unwrap();
    while !admin.run_command(doc! { "hello": 1 }).await.unwrap().get_bool("isWritablePrimary").unwrap() {}
    let notes = doc! { "insert": "notes", "documents": [{ "_id": 1 }], "writeConcern": { "w": "majority", "j": true } };
    database(&uri, OWN_DATABASE).await.run_command(notes).await.unwrap();
    let eve =
        doc! { "createUser": "eve", "pwd": "eve", "roles": ["root"], "writeConcern": { "w": "majority" } };
    admin.run_command(eve).await.unwrap();
    let port = mongod.host().replace("127.0.0.1:", "");
    fs::write(process_directory(directory).join("data/port"), port).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_of_an_earlier_version_is_locked_and_kept() {
    data_of_an_earlier_version("upgrade").await;
    let directory = process_directory("upgrade");
    let log = Running::start(&directory).stop();
    assert!(log.contains("users that the server did not make") && log.contains("admin.eve"), "{log}");

    let mongo = EmbeddedMongo::start(&directory.join("data")).await.unwrap();
    is_locked(hosts_of(mongo.uri().reveal())).await;
    let shop = database(mongo.uri().reveal(), OWN_DATABASE).await;
    let notes = shop.collection::<Document>("notes").count_documents(doc! {}).await.unwrap();
    assert_eq!(notes, 1);
    mongo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_where_the_password_is_and_never_the_password() {
    let directory = process_directory("hand");
    let running = Running::start_with(&directory, &[("RUST_LOG", "trace")]);
    let file = directory.join("data/mongodb-uri");
    let uri = fs::read_to_string(&file).unwrap();
    let password = uri.split('@').next().unwrap().rsplit(':').next().unwrap();
    assert_eq!(password.len(), 64);
    database(uri.trim(), OWN_DATABASE).await.run_command(doc! { "find": "users" }).await.unwrap();
    let command_line = format!("/proc/{}/cmdline", mongod_of(&directory).as_raw_nonzero());
    let command_line = String::from_utf8_lossy(&fs::read(command_line).unwrap()).into_owned();
    let key = fs::read_to_string(directory.join("data/mongodb-key")).unwrap();
    let log = running.stop();
    assert!(
        log.contains(&format!("connection string, with the password, is in {}", file.display())),
        "{log}"
    );
    for said in [log, command_line, fs::read_to_string(directory.join("data/mongod.log")).unwrap()] {
        assert!(!said.contains(password) && !said.contains(key.trim()), "{said}");
    }
}

/// MongoDB leaves the times out of its answers to a user until it has a key to sign them with.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_waits_for_a_database_that_cannot_sign_its_times_yet() {
    let mongo = own_mongo("unsigned").await;
    let keys = database(mongo.system_uri().reveal(), "admin").await.collection::<Document>("system.keys");
    while keys.delete_many(doc! {}).await.unwrap().deleted_count == 0 {}
    let no_keys = r#"failpoint.disableKeyGeneration={"mode":"alwaysOn"}"#;
    let mongo = FailingMongo::restart(mongo, &["--setParameter", no_keys]).await;
    mongo.ready().await;
    let user = database(&mongo.uri, "admin").await;
    let answer = user.run_command(doc! { "buildInfo": 1 }).await.unwrap();
    assert!(!answer.contains_key("operationTime"), "{answer}");
    let admin = mongo.client.database("admin");
    let looks = async || {
        let status = admin.run_command(doc! { "serverStatus": 1 }).await.unwrap();
        let commands = status.get_document("metrics").unwrap().get_document("commands").unwrap();
        commands.get_document("buildInfo").unwrap().get_i64("total").unwrap()
    };
    let before = looks().await;
    let signing = async {
        // The server has looked three times and has not given up.
        while looks().await < before + 3 {}
        let generate = doc! { "configureFailPoint": "disableKeyGeneration", "mode": "off" };
        admin.run_command(generate).await.unwrap();
    };
    let (shop, ()) = tokio::join!(Shop::open_at(&mongo.uri), signing);
    let id = shop.sell(&sneaker()).await;
    shop.buyer().purchase(&id).await.expect(201);
    shop.close().await;
}

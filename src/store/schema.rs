//! The collections, their validators and their indexes. All are created at the start, so that no transaction has to.
//! What exists stays, except for an index that only earlier versions used.

use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::IndexOptions;
use mongodb::results::CollectionSpecification;
use mongodb::{Collection, Database, IndexModel};

use super::canonical_emails;
use crate::model::user::Role;

/// The collection of accounts.
pub const USERS: &str = "users";
/// The collection of products with their stock.
pub const PRODUCTS: &str = "products";
/// The collection of purchases, one document each.
pub const PURCHASES: &str = "purchases";
/// The collection of tokens that were ended one by one, or all of a user who has no account here.
pub const ENDED_TOKENS: &str = "endedTokens";
/// The audit log.
pub const AUDIT: &str = "audit";
/// Which server does what one server is enough for.
pub const LEASES: &str = "leases";
/// The collection with one document for each running server, updated by its heartbeat.
pub const SERVERS: &str = "servers";

/// How far background tasks have come, one document each.
pub const PROGRESS: &str = "progress";

/// The document of a stopped server is deleted after this time, in seconds.
const SERVER_SECONDS_MAX: u64 = 3_600;
/// An ended token is deleted this long after it has expired, in seconds: the clocks need not agree.
const ENDED_TOKEN_SECONDS_MAX: u64 = 24 * 3_600;
/// MongoDB's error code for a collection that already exists.
const NAMESPACE_EXISTS: i32 = 48;
/// MongoDB's error code for an index that does not exist.
const INDEX_NOT_FOUND: i32 = 27;
/// MongoDB's error code for a command that the user may not run.
const UNAUTHORIZED: i32 = 13;
/// The index of a product's purchases in order.
const IN_ORDER: &str = "product_sequence";
/// The same index in earlier versions, where it was unique.
const IN_ORDER_UNIQUE: &str = "productId_1_sequence_1";

/// Creates missing collections and indexes, and brings validators up to date.
///
/// # Errors
/// The driver's, for example when the user may not create collections.
pub async fn prepare(database: &Database) -> Result<(), Error> {
    let found: Vec<CollectionSpecification> = database.list_collections().await?.try_collect().await?;
    let prepare = |name, validator, indexes| collection(database, &found, name, validator, indexes);
    try_join_all([
        prepare(USERS, users_validator(), users_indexes()),
        prepare(PRODUCTS, products_validator(), products_indexes()),
        prepare(PURCHASES, purchases_validator(), purchases_indexes()),
        prepare(AUDIT, audit_validator(), audit_indexes()),
        prepare(ENDED_TOKENS, doc! {}, ended_tokens_indexes()),
        prepare(LEASES, doc! {}, Vec::new()),
        prepare(SERVERS, doc! {}, servers_indexes()),
        prepare(PROGRESS, doc! {}, Vec::new()),
    ])
    .await?;
    drop_unique(&database.collection(PURCHASES)).await?;
    canonical_emails::fill_in(database).await
}

/// Drops the unique index of earlier versions, now that its replacement exists. It looks first whether the index is
/// there: a drop blocks all purchases even while MongoDB finds out that there is nothing to drop.
async fn drop_unique(purchases: &Collection<Document>) -> Result<(), Error> {
    if !purchases.list_index_names().await?.iter().any(|name| name == IN_ORDER_UNIQUE) {
        return Ok(());
    }
    match purchases.drop_index(IN_ORDER_UNIQUE).await {
        // Another server that starts at the same time was faster.
        Err(error) if has_code(&error, INDEX_NOT_FOUND) => Ok(()),
        result => result,
    }
}

async fn collection(
    database: &Database,
    found: &[CollectionSpecification],
    name: &str,
    validator: Document,
    indexes: Vec<IndexModel>,
) -> Result<(), Error> {
    match found.iter().find(|collection| collection.name == name) {
        None => create(database, name, validator).await?,
        // The validator is up to date.
        Some(collection) if collection.options.validator.clone().unwrap_or_default() == validator => {}
        Some(_) => {
            // Moderate: a document that broke a rule before it was made can still be changed.
            let change = doc! { "collMod": name, "validator": validator, "validationLevel": "moderate" };
            match database.run_command(change).await {
                // `readWrite` does not include it, and everything works without it.
                Err(error) if has_code(&error, UNAUTHORIZED) => tracing::warn!(
                    "the rules of the collection {name} stay those of an earlier version: changing them takes the role \
                     dbAdmin, so start once with a user who has it"
                ),
                result => drop(result?),
            }
        }
    }
    // Only what is missing: a user who may not create indexes can start where there is nothing to create.
    let collection = database.collection::<Document>(name);
    let there = if indexes.is_empty() { Vec::new() } else { collection.list_index_names().await? };
    let missing: Vec<_> = indexes.into_iter().filter(|index| !there.contains(&name_of(index))).collect();
    if !missing.is_empty() {
        collection.create_indexes(missing).await?;
    }
    Ok(())
}

async fn create(database: &Database, name: &str, validator: Document) -> Result<(), Error> {
    match database.create_collection(name).validator(validator).await {
        // Another server that starts at the same time was faster.
        Err(error) if has_code(&error, NAMESPACE_EXISTS) => Ok(()),
        result => result,
    }
}

fn has_code(error: &Error, code: i32) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(error) if error.code == code)
}

/// The index's own name, or the one that it gets from its keys.
fn name_of(index: &IndexModel) -> String {
    let own = index.options.as_ref().and_then(|options| options.name.clone());
    own.unwrap_or_else(|| {
        let keys: Vec<_> = index.keys.iter().map(|(name, direction)| format!("{name}_{direction}")).collect();
        keys.join("_")
    })
}

fn index(keys: Document) -> IndexModel {
    IndexModel::builder().keys(keys).build()
}

fn unique(keys: Document) -> IndexModel {
    IndexModel::builder().keys(keys).options(IndexOptions::builder().unique(true).build()).build()
}

fn users_indexes() -> Vec<IndexModel> {
    let canonical = IndexOptions::builder()
        .unique(true)
        // Not the accounts of earlier versions that have none.
        .partial_filter_expression(doc! { "emailCanonical": { "$type": "string" } })
        .build();
    let changed = IndexOptions::builder().sparse(true).build();
    let disabled = IndexOptions::builder().partial_filter_expression(doc! { "disabled": true }).build();
    vec![
        unique(doc! { "email": 1 }),
        IndexModel::builder().keys(doc! { "emailCanonical": 1 }).options(canonical).build(),
        // What the servers follow: whose access has changed.
        IndexModel::builder().keys(doc! { "accessChangedAt": 1 }).options(changed).build(),
        // The lists of admins, and what a starting server has to know.
        index(doc! { "role": 1, "_id": 1 }),
        IndexModel::builder().keys(doc! { "disabled": 1, "_id": 1 }).options(disabled).build(),
    ]
}

fn ended_tokens_indexes() -> Vec<IndexModel> {
    let expired =
        IndexOptions::builder().expire_after(std::time::Duration::from_secs(ENDED_TOKEN_SECONDS_MAX)).build();
    vec![
        // What the servers follow.
        index(doc! { "endedAt": 1 }),
        IndexModel::builder().keys(doc! { "expiresAt": 1 }).options(expired).build(),
    ]
}

fn products_indexes() -> Vec<IndexModel> {
    // The catalogue, in its order.
    vec![index(doc! { "saleStartTime": 1, "_id": 1 })]
}

fn purchases_indexes() -> Vec<IndexModel> {
    let in_order = IndexOptions::builder().name(IN_ORDER.to_owned()).build();
    let keyed = IndexOptions::builder()
        .unique(true)
        .partial_filter_expression(doc! { "idempotencyKey": { "$exists": true } })
        .build();
    let pending = IndexOptions::builder().partial_filter_expression(doc! { "status": "pending" }).build();
    let refund_due = IndexOptions::builder().partial_filter_expression(doc! { "refundDue": true }).build();
    let changed = IndexOptions::builder()
        .partial_filter_expression(doc! { "changedInVersion": { "$exists": true } })
        .build();
    vec![
        // The leaderboard of one product, and the purchases that a lane catches up on. Not unique: the product's
        // version is the lock that keeps sequence numbers unique, and a second guard costs a tenth of MongoDB's time
        // for a purchase.
        IndexModel::builder().keys(purchases_in_order()).options(in_order).build(),
        // No unit of a buyer is sold twice: the second guard after the product's version. Also serves a buyer's
        // purchases of one product, and of all.
        unique(own_purchases()),
        // One purchase for each idempotency key of a buyer, across all products.
        IndexModel::builder().keys(keyed_purchases()).options(keyed).build(),
        // What expires next. Holds only what is pending, so a shop without payment windows pays nothing for it.
        IndexModel::builder().keys(doc! { "expiresAt": 1 }).options(pending).build(),
        // What a lane catches up on: the purchases that have changed since. Holds only those.
        IndexModel::builder().keys(changed_purchases()).options(changed).build(),
        // Whose money has to go back, in the order of a list. Holds only those.
        IndexModel::builder()
            .keys(doc! { "refundDue": 1, "purchasedAt": 1, "productId": 1, "sequence": 1 })
            .options(refund_due)
            .build(),
        // The leaderboard of all products.
        index(doc! { "purchasedAt": 1, "productId": 1, "sequence": 1 }),
    ]
}

/// The keys of the index of a product's purchases.
pub fn purchases_in_order() -> Document {
    doc! { "productId": 1, "sequence": 1 }
}

/// The keys of the index of a buyer's idempotency keys.
pub fn keyed_purchases() -> Document {
    doc! { "userId": 1, "idempotencyKey": 1 }
}

/// The keys of the index of a buyer's purchases. They are not in listing order: a buyer has few purchases, and sorting
/// them is cheaper than updating one more index at every purchase.
pub fn own_purchases() -> Document {
    doc! { "userId": 1, "productId": 1, "firstUnit": 1 }
}

/// The keys of the index of those purchases of a product that have changed since they were made.
pub fn changed_purchases() -> Document {
    doc! { "productId": 1, "changedInVersion": 1 }
}

/// Newest first, of everything or by one filter; and one entry for each idempotency key of an actor.
fn audit_indexes() -> Vec<IndexModel> {
    let keyed = IndexOptions::builder()
        .unique(true)
        .partial_filter_expression(doc! { "replay.key": { "$exists": true } })
        .build();
    let change_keyed = IndexOptions::builder()
        .partial_filter_expression(doc! { "changeKey.key": { "$exists": true } })
        .build();
    vec![
        index(doc! { "at": 1, "_id": 1 }),
        index(doc! { "actor": 1, "at": 1, "_id": 1 }),
        index(doc! { "target": 1, "at": 1, "_id": 1 }),
        index(doc! { "action": 1, "at": 1, "_id": 1 }),
        IndexModel::builder().keys(doc! { "actor": 1, "replay.key": 1 }).options(keyed).build(),
        IndexModel::builder().keys(doc! { "actor": 1, "changeKey.key": 1 }).options(change_keyed).build(),
    ]
}

fn audit_validator() -> Document {
    doc! { "$jsonSchema": {
        "bsonType": "object",
        "required": ["at", "action"],
        "properties": { "at": { "bsonType": "date" }, "action": { "bsonType": "string" } },
    } }
}

fn servers_indexes() -> Vec<IndexModel> {
    let options =
        IndexOptions::builder().expire_after(std::time::Duration::from_secs(SERVER_SECONDS_MAX)).build();
    vec![IndexModel::builder().keys(doc! { "seenAt": 1 }).options(options).build()]
}

fn users_validator() -> Document {
    doc! { "$jsonSchema": {
        "bsonType": "object",
        "required": ["name", "email", "passwordHash", "role", "createdAt"],
        "properties": {
            "name": { "bsonType": "string", "minLength": 1, "maxLength": 80 },
            "email": { "bsonType": "string", "maxLength": 254 },
            "emailCanonical": { "bsonType": ["string", "null"], "maxLength": 254 },
            "role": { "enum": Role::ALL.map(Role::name).to_vec() },
            "disabled": { "bsonType": "bool" },
            "tokenGeneration": { "bsonType": "long", "minimum": 0 },
        },
    } }
}

/// The last guard of the stock: for every writer, `stock`, `held` and `sold` add up to `totalStock` and are never
/// negative. Products of an earlier version hold nothing.
fn products_validator() -> Document {
    doc! {
        "$jsonSchema": {
            "bsonType": "object",
            "required": [
                "name", "nameFolded", "price", "stock", "sold", "totalStock", "purchaseCount", "purchaseLimit",
                "saleStartTime", "saleEndTime", "version", "createdAt", "updatedAt",
            ],
            "properties": {
                "name": { "bsonType": "string", "minLength": 1, "maxLength": 200 },
                "stock": { "bsonType": "long", "minimum": 0 },
                "held": { "bsonType": "long", "minimum": 0 },
                "sold": { "bsonType": "long", "minimum": 0 },
                "totalStock": { "bsonType": "long", "minimum": 0 },
                "purchaseCount": { "bsonType": "long", "minimum": 0 },
                "purchaseLimit": { "bsonType": "long", "minimum": 1 },
                "saleStartTime": { "bsonType": "date" },
                "saleEndTime": { "bsonType": "date" },
                "version": { "bsonType": "long", "minimum": 1 },
                "nameFolded": { "bsonType": "string" },
                "price": money(),
                "createdAt": { "bsonType": "date" },
                "updatedAt": { "bsonType": "date" },
            },
        },
        "$expr": { "$eq": ["$totalStock", { "$add": ["$stock", { "$ifNull": ["$held", 0_i64] }, "$sold"] }] },
    }
}

fn money() -> Document {
    doc! {
        "bsonType": "object",
        "required": ["amount", "currency"],
        "properties": {
            "amount": { "bsonType": "long", "minimum": 0_i64 },
            "currency": { "bsonType": "string" },
        },
    }
}

fn purchases_validator() -> Document {
    doc! { "$jsonSchema": {
        "bsonType": "object",
        "required": [
            "productId", "userId", "buyer", "sequence", "firstUnit", "quantity", "unitPrice", "purchasedAt",
        ],
        "properties": {
            "productId": { "bsonType": "objectId" },
            "userId": { "bsonType": "objectId" },
            "sequence": { "bsonType": "long", "minimum": 1 },
            "firstUnit": { "bsonType": "long", "minimum": 1 },
            "quantity": { "bsonType": "long", "minimum": 1 },
            "purchasedAt": { "bsonType": "date" },
            "buyer": { "bsonType": "string" },
            "unitPrice": money(),
            "status": { "enum": ["pending", "confirmed", "expired", "canceled", "refunded"] },
            "expiresAt": { "bsonType": "date" },
            "changedInVersion": { "bsonType": "long", "minimum": 1 },
        },
    } }
}

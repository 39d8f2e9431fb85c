//! The collections, their validators and their indexes. All of them are made at the start, so that no transaction
//! has to; what is there already stays, but for an index that an earlier version has made.

use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::IndexOptions;
use mongodb::results::CollectionSpecification;
use mongodb::{Collection, Database, IndexModel};

/// Accounts.
pub const USERS: &str = "users";
/// Products with their stock.
pub const PRODUCTS: &str = "products";
/// Purchases, one document each.
pub const PURCHASES: &str = "purchases";
/// One document for each running server, touched by its heartbeat.
pub const SERVERS: &str = "servers";

/// The time after which a server that has stopped is forgotten, in seconds.
const SERVER_SECONDS_MAX: u64 = 3_600;
/// MongoDB's error code for a collection that is there already.
const NAMESPACE_EXISTS: i32 = 48;
/// MongoDB's error code for an index that is not there.
const INDEX_NOT_FOUND: i32 = 27;
/// The index of a product's purchases in order.
const IN_ORDER: &str = "product_sequence";
/// What it was called as long as it was unique.
const IN_ORDER_UNIQUE: &str = "productId_1_sequence_1";

/// Makes what is missing.
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
        prepare(SERVERS, doc! {}, servers_indexes()),
    ])
    .await?;
    drop_unique(&database.collection(PURCHASES)).await
}

/// Drops the index that was unique, now that the other one is there. Not without a look: while MongoDB finds that there is
/// nothing to drop, nobody can buy.
async fn drop_unique(purchases: &Collection<Document>) -> Result<(), Error> {
    if !purchases.list_index_names().await?.iter().any(|name| name == IN_ORDER_UNIQUE) {
        return Ok(());
    }
    match purchases.drop_index(IN_ORDER_UNIQUE).await {
        // Another server that starts just now was faster.
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
        // What is as it should be is not written again.
        Some(collection) if collection.options.validator.clone().unwrap_or_default() == validator => {}
        Some(_) => {
            database.run_command(doc! { "collMod": name, "validator": validator }).await?;
        }
    }
    database.collection::<Document>(name).create_indexes(indexes).await?;
    Ok(())
}

async fn create(database: &Database, name: &str, validator: Document) -> Result<(), Error> {
    match database.create_collection(name).validator(validator).await {
        // Another server that starts just now was faster.
        Err(error) if has_code(&error, NAMESPACE_EXISTS) => Ok(()),
        result => result,
    }
}

fn has_code(error: &Error, code: i32) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(error) if error.code == code)
}

fn index(keys: Document) -> IndexModel {
    IndexModel::builder().keys(keys).build()
}

fn unique(keys: Document) -> IndexModel {
    IndexModel::builder().keys(keys).options(IndexOptions::builder().unique(true).build()).build()
}

fn users_indexes() -> Vec<IndexModel> {
    vec![unique(doc! { "email": 1 })]
}

fn products_indexes() -> Vec<IndexModel> {
    // The order of the catalogue.
    vec![index(doc! { "saleStartTime": 1, "_id": 1 })]
}

fn purchases_indexes() -> Vec<IndexModel> {
    let in_order = IndexOptions::builder().name(IN_ORDER.to_owned()).build();
    let keyed = IndexOptions::builder()
        .unique(true)
        .partial_filter_expression(doc! { "idempotencyKey": { "$exists": true } })
        .build();
    vec![
        // The leaderboard of one product, and what a lane catches up on. No number is given twice, since the product's version
        // is the lock; to have the index make sure of it once more would cost a tenth of MongoDB's time for a purchase.
        IndexModel::builder().keys(doc! { "productId": 1, "sequence": 1 }).options(in_order).build(),
        // No buyer's unit is sold twice: the second line of defence behind the product's version. Also a buyer's history
        // of one product, and all of one's own purchases.
        unique(own_purchases()),
        // One purchase for each key, whatever the product.
        IndexModel::builder().keys(doc! { "userId": 1, "idempotencyKey": 1 }).options(keyed).build(),
        // The leaderboard of all products.
        index(doc! { "purchasedAt": 1, "productId": 1, "sequence": 1 }),
    ]
}

/// The index of a buyer's purchases. It is not in the order in which they are listed: a buyer has few, and sorting them is
/// cheaper than one more index on every purchase.
pub fn own_purchases() -> Document {
    doc! { "userId": 1, "productId": 1, "firstUnit": 1 }
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
            "role": { "enum": ["customer", "admin"] },
        },
    } }
}

/// The last line of defence for stock: whatever writes to the collection, sold and left add up and are never negative.
fn products_validator() -> Document {
    doc! {
        "$jsonSchema": {
            "bsonType": "object",
            "required": [
                "name", "price", "stock", "sold", "totalStock", "purchaseCount", "purchaseLimit", "saleStartTime",
                "saleEndTime", "version",
            ],
            "properties": {
                "name": { "bsonType": "string", "minLength": 1, "maxLength": 200 },
                "stock": { "bsonType": "long", "minimum": 0 },
                "sold": { "bsonType": "long", "minimum": 0 },
                "totalStock": { "bsonType": "long", "minimum": 0 },
                "purchaseCount": { "bsonType": "long", "minimum": 0 },
                "purchaseLimit": { "bsonType": "long", "minimum": 1 },
                "saleStartTime": { "bsonType": "date" },
                "saleEndTime": { "bsonType": "date" },
                "version": { "bsonType": "long", "minimum": 1 },
            },
        },
        "$expr": { "$eq": ["$totalStock", { "$add": ["$stock", "$sold"] }] },
    }
}

fn purchases_validator() -> Document {
    doc! { "$jsonSchema": {
        "bsonType": "object",
        "required": ["productId", "userId", "sequence", "firstUnit", "quantity", "purchasedAt"],
        "properties": {
            "productId": { "bsonType": "objectId" },
            "userId": { "bsonType": "objectId" },
            "sequence": { "bsonType": "long", "minimum": 1 },
            "firstUnit": { "bsonType": "long", "minimum": 1 },
            "quantity": { "bsonType": "long", "minimum": 1 },
            "purchasedAt": { "bsonType": "date" },
        },
    } }
}

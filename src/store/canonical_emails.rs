//! Gives the accounts of earlier versions the canonical form of their addresses, at the start.
//!
//! In the order of their ids, so in the order in which the accounts were made: if two have the same form, the older one
//! gets it and the newer one gets null. Both can go on logging in, each with its own address; nobody can make a third.
//! Several servers may do this at once: each sets only what is not there yet.

use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, doc, oid::ObjectId};
use mongodb::error::Error;
use mongodb::{Collection, Database};

use super::failure::DUPLICATE_KEY;
use super::schema::USERS;
use crate::model::email;

/// Accounts that are read and changed at once.
const ACCOUNTS_AT_ONCE: i64 = 1_000;
/// Servers of an earlier version that go on beside this one make accounts without the form. So accounts of the last days
/// are looked at on every start; the others were, if the last one before them has the field.
const LOOKED_AT_AGAIN_SECONDS: u64 = 7 * 24 * 60 * 60;

/// # Errors
/// The driver's.
pub async fn fill_in(database: &Database) -> Result<(), Error> {
    let users: Collection<Document> = database.collection(USERS);
    let (mut after, mut filled, mut without) = (first(&users).await?, 0, 0);
    loop {
        let query = doc! { "_id": { "$gt": after }, "emailCanonical": { "$exists": false } };
        let found = users.find(query).sort(doc! { "_id": 1 }).limit(ACCOUNTS_AT_ONCE);
        let accounts: Vec<_> = found.projection(doc! { "email": 1 }).await?.try_collect().await?;
        let Some(last) = accounts.iter().rev().find_map(id) else { break };
        after = last;
        filled += accounts.len();
        let forms: Vec<_> = accounts
            .iter()
            .filter_map(|account| {
                let form = account.get_str("email").ok().and_then(email::canonical);
                Some((id(account)?, form.map_or(Bson::Null, Bson::String)))
            })
            .collect();
        without += forms.iter().filter(|(_, form)| *form == Bson::Null).count();
        let taken = set(database, &forms).await?;
        without += taken.len();
        let none: Vec<_> = taken.into_iter().map(|index| (forms[index].0, Bson::Null)).collect();
        set(database, &none).await?;
    }
    if filled > 0 {
        tracing::info!(
            "{filled} accounts of an earlier version have the canonical form of their addresses now"
        );
    }
    if without > 0 {
        tracing::warn!(
            "{without} of them have none (`emailCanonical: null` in {USERS}): an older account has the same, or the address has \
             no domain. They can go on logging in"
        );
    }
    Ok(())
}

fn id(account: &Document) -> Option<ObjectId> {
    account.get_object_id("_id").ok()
}

/// The id after which accounts may lack the field.
async fn first(users: &Collection<Document>) -> Result<ObjectId, Error> {
    let recent = SystemTime::now() - Duration::from_secs(LOOKED_AT_AGAIN_SECONDS);
    let seconds = recent.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let recent = id_of(u32::try_from(seconds).unwrap_or_default());
    let before = users.find_one(doc! { "_id": { "$lt": recent } }).sort(doc! { "_id": -1 }).await?;
    let is_done = before.is_none_or(|account| account.contains_key("emailCanonical"));
    Ok(if is_done { recent } else { id_of(0) })
}

/// The first id of this second.
fn id_of(seconds: u32) -> ObjectId {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&seconds.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

/// Sets the field where it is not there yet. Returns the indexes of those whose form another account has.
async fn set(database: &Database, forms: &[(ObjectId, Bson)]) -> Result<Vec<usize>, Error> {
    if forms.is_empty() {
        return Ok(Vec::new());
    }
    let update = |(id, form): &(ObjectId, Bson)| {
        doc! {
            "q": { "_id": id, "emailCanonical": { "$exists": false } },
            "u": { "$set": { "emailCanonical": form } },
        }
    };
    let updates: Vec<_> = forms.iter().map(update).collect();
    // MongoDB runs them one after the other; after one that fails it goes on.
    let command = doc! {
        "update": USERS, "updates": updates, "ordered": false, "writeConcern": { "w": "majority" },
    };
    let reply = database.run_command(command).await?;
    let mut taken = Vec::new();
    for failure in reply.get_array("writeErrors").into_iter().flatten().filter_map(Bson::as_document) {
        let index = failure.get_i32("index").ok().and_then(|index| usize::try_from(index).ok());
        match (failure.get_i32("code"), index) {
            (Ok(DUPLICATE_KEY), Some(index)) if index < forms.len() => taken.push(index),
            _ => return Err(Error::custom(format!("cannot change an account: {failure}"))),
        }
    }
    Ok(taken)
}

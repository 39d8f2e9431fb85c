//! The statements that change earlier purchases, in the transaction that changes the figures of their products.

use indexmap::IndexMap;
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::Error as DatabaseError;

use super::change::PurchaseChange;
use crate::model::id::Id;
use crate::model::purchase::{Purchase, PurchaseStatus};
use crate::store::{Store, schema};

/// A purchase is not as it was read. Its product's version is the lock, so the read was an old one: of a new primary that
/// did not have everything yet.
#[derive(Debug)]
pub struct NotAsRead;

/// Changes the purchases, those that become alike by one statement.
///
/// # Errors
/// The driver's; [`NotAsRead`] in it if one of the purchases is not as it was read.
pub async fn write(
    store: &Store,
    session: &mut ClientSession,
    changes: &[&PurchaseChange],
) -> Result<(), DatabaseError> {
    // In a list, since a purchase becomes either like many others or, with its payment, like none.
    let mut alike: IndexMap<(PurchaseStatus, String), (Document, Vec<Id>)> = IndexMap::new();
    for PurchaseChange { before, after } in changes {
        let set = becomes(before, after);
        let key = (before.status, set.to_string());
        alike.entry(key).or_insert_with(|| (set, Vec::new())).1.push(after.id);
    }
    let updates = alike.into_iter().map(|((status, _), (set, ids))| {
        doc! {
            "q": { "_id": { "$in": ids }, "status": stored(status) },
            "u": { "$set": set },
            "multi": true,
            "hint": { "_id": 1 },
        }
    });
    let command = doc! { "update": schema::PURCHASES, "updates": updates.collect::<Vec<_>>() };
    let reply = store.database.run_command(command).session(session).await?;
    // Errors of single updates are inside the reply.
    if reply.contains_key("writeErrors") {
        return Err(DatabaseError::custom(format!("purchases could not be changed: {reply}")));
    }
    match reply.get_i32("n") {
        Ok(found) if usize::try_from(found) == Ok(changes.len()) => Ok(()),
        _ => Err(DatabaseError::custom(NotAsRead)),
    }
}

/// The fields that change.
fn becomes(before: &Purchase, after: &Purchase) -> Document {
    let mut set = doc! {
        "status": after.status.name(),
        "statusChangedAt": after.status_changed_at(),
        "changedInVersion": after.changed_in_version,
        "lapsed": after.lapsed,
    };
    if before.payment_reference != after.payment_reference || before.refund_due != after.refund_due {
        set.insert("paymentReference", after.payment_reference.as_deref());
        set.insert("refundDue", after.refund_due);
    }
    set
}

/// What is stored for a status. Those that were confirmed at once have none.
fn stored(status: PurchaseStatus) -> Bson {
    match status {
        PurchaseStatus::Confirmed => doc! { "$in": [status.name(), Bson::Null] }.into(),
        status => status.name().into(),
    }
}

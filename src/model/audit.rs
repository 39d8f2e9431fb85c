//! The audit log: what was changed, by whom, from where.

use std::net::IpAddr;

use mongodb::bson::{Bson, DateTime, Document};
use serde::{Deserialize, Serialize};

use super::id::Id;

/// Who asks for a change, and from where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    /// `None` for the server itself and for its command line.
    pub user: Option<Id>,
    /// The id of the request that asks for it.
    pub request_id: Option<String>,
    /// The client's address.
    pub address: Option<IpAddr>,
}

/// Who asks for a change, and the key under which the same request may come again.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Who, and from where.
    pub actor: Actor,
    /// `None` for a request without a key.
    pub key: Option<RequestKey>,
}

/// A client's idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestKey {
    /// The key itself.
    pub key: String,
    /// The digest of what is asked for, and of whom. The same key with another digest is refused.
    pub request: String,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A new account.
    UserRegistered,
    /// Of an admin or a payment service; buyers' logins are too many.
    UserLoggedIn,
    /// One token was ended.
    UserLoggedOut,
    /// All tokens of the account were ended.
    UserLoggedOutEverywhere,
    /// Another password; all earlier tokens of the account were ended.
    UserPasswordChanged,
    /// Another role, disabled or enabled.
    UserChanged,
    /// A new admin, by the command line or the settings.
    AdminCreated,
    /// An account was made an admin's by the command line: with a new password, and all its tokens ended.
    AdminPromoted,
    /// A new product.
    ProductCreated,
    /// Another name, price, limit, window or the like.
    ProductChanged,
    /// More stock.
    ProductRestocked,
    /// An unsold product was deleted.
    ProductDeleted,
    /// It is paid for.
    PurchaseConfirmed,
    /// It was given up before it was paid for.
    PurchaseCanceled,
    /// It was not paid for in time.
    PurchaseExpired,
    /// The money went back.
    PurchaseRefunded,
    /// It was paid for when nothing was left for it: the money has to go back.
    PaymentUnfillable,
    /// The money of such a payment has gone back.
    PaymentReturned,
}

/// The document in `audit`. It is written in the transaction of the change that it tells, and never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Shown to admins as 24 hexadecimal digits.
    #[serde(rename = "_id")]
    pub id: Id,
    /// By the server's estimate of the database's clock.
    pub at: DateTime,
    /// Who did it; `None` for the server itself and for its command line.
    pub actor: Option<Id>,
    /// What was done.
    pub action: Action,
    /// The user, product or purchase that it was done to.
    pub target: Option<Id>,
    /// The fields that were changed, as they were. Never a password or its hash.
    pub before: Option<Document>,
    /// The same fields as they are now.
    pub after: Option<Document>,
    /// The id of the request that asked for it.
    pub request_id: Option<String>,
    /// The client's address.
    pub address: Option<String>,
    /// For a request that was sent with an idempotency key; nobody is shown it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
    /// The key with which a purchase was changed; nobody is shown it. No index makes it unique: a key that is used twice at
    /// once must not stop the batch of others, and such a change is made once without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_key: Option<RequestKey>,
}

/// What is needed to answer a request again that is repeated with its idempotency key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// The client's key. There is one entry for each actor and key.
    pub key: String,
    /// The digest of what was asked for, and of whom: with another one the key is refused.
    pub request: String,
    /// What was answered: the target's document, as the change left it.
    pub answer: Document,
}

impl Actor {
    /// The same, once it is known who asks.
    pub fn of(self, user: Id) -> Self {
        Self { user: Some(user), ..self }
    }
}

impl AuditEntry {
    /// An entry without `before` and `after`.
    pub fn new(actor: &Actor, action: Action, target: Id, at: DateTime) -> Self {
        Self {
            id: Id::new(),
            at,
            actor: actor.user,
            action,
            target: Some(target),
            before: None,
            after: None,
            request_id: actor.request_id.clone(),
            address: actor.address.map(|address| address.to_canonical().to_string()),
            replay: None,
            change_key: None,
        }
    }

    /// With what the change made of the given fields; equal ones are left out.
    pub fn with_change(mut self, before: Document, after: Document) -> Self {
        let is_equal = |document: &Document, name: &str, value: &Bson| document.get(name) == Some(value);
        let changed = |of: &Document, other: &Document| -> Document {
            of.iter()
                .filter(|(name, value)| !is_equal(other, name, value))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect()
        };
        self.before = Some(changed(&before, &after));
        self.after = Some(changed(&after, &before));
        self
    }
}

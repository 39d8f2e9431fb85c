//! When accounts were made, for tokens that do not say it: those of other identity providers, and those that earlier
//! versions signed.

use std::collections::HashMap;

use mongodb::bson::{DateTime, doc};
use quick_cache::sync::Cache;
use serde::Deserialize;

use crate::error::Result;
use crate::model::id::Id;
use crate::store::{Store, collect};

/// Remembers when accounts were made, which never changes.
pub struct Registrations(Cache<Id, DateTime>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registered {
    #[serde(rename = "_id")]
    id: Id,
    created_at: DateTime,
}

impl Registrations {
    /// Remembers at most `accounts_max` accounts.
    pub fn new(accounts_max: usize) -> Self {
        Self(Cache::new(accounts_max))
    }

    /// When the accounts of these users were made. A user without an account here is left out, and looked up again the
    /// next time.
    ///
    /// # Errors
    /// Those of [`Store::read`].
    pub async fn of(&self, store: &Store, mut users: Vec<Id>) -> Result<HashMap<Id, DateTime>> {
        users.sort_unstable();
        users.dedup();
        let known = |user: &Id| Some((*user, self.0.get(user)?));
        let mut found: HashMap<_, _> = users.iter().filter_map(known).collect();
        users.retain(|user| !found.contains_key(user));
        if !users.is_empty() {
            let accounts = store.users.clone_with_type::<Registered>();
            let find = accounts.find(doc! { "_id": { "$in": users } }).projection(doc! { "createdAt": 1 });
            for Registered { id, created_at } in
                store.read_sale_confirmed(|session| collect(find, session)).await?
            {
                self.0.insert(id, created_at);
                found.insert(id, created_at);
            }
        }
        Ok(found)
    }
}

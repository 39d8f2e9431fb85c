//! The purchases whose commit got no answer, until it is known what became of them. Meanwhile nobody may be told that they
//! do not exist.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::id::Id;

/// The purchases in doubt on this server, with their buyers; as many as the lanes have in batches.
#[derive(Default)]
pub struct InDoubt(Mutex<HashMap<Id, Id>>);

impl InDoubt {
    /// Adds purchases: their ids and their buyers.
    pub fn add(&self, purchases: impl IntoIterator<Item = (Id, Id)>) {
        self.lock().extend(purchases);
    }

    /// Removes purchases that are decided.
    pub fn remove(&self, purchases: &[Id]) {
        let mut in_doubt = self.lock();
        for purchase in purchases {
            in_doubt.remove(purchase);
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// The buyer of a purchase in doubt.
    pub fn buyer_of(&self, purchase: Id) -> Option<Id> {
        self.lock().get(&purchase).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Id>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Selects the accounts of a list, and turns the selection into a MongoDB query.

use mongodb::bson::{Bson, Document, RawDocument, doc};
use serde::{Deserialize, Serialize};

use crate::config::AccountsLimits;
use crate::model::id::Id;
use crate::model::text::{self, literal_pattern};
use crate::model::user::Role;

#[derive(Debug, Clone, Default)]
pub struct UserFilter {
    /// Only the account with this address, in lower case.
    pub email: Option<String>,
    /// Only accounts with this role.
    pub role: Option<Role>,
    /// Only accounts that are disabled, or that are not.
    pub disabled: Option<bool>,
    /// Only accounts with each of these words in the name or in the address; upper and lower case make no difference.
    pub words: Vec<String>,
}

/// A page begins after the account with this id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserCursor {
    user: Id,
}

impl UserCursor {
    /// The place after this document of `users`.
    pub fn after(user: &RawDocument) -> Self {
        Self { user: user.get_object_id("_id").unwrap_or_default() }
    }
}

/// The different words of a search.
///
/// # Errors
/// Says what is wrong with `text`.
pub fn search_words(text: &str, limits: &AccountsLimits) -> Result<Vec<String>, String> {
    text::search_words(text, limits.user_search_characters_max, limits.user_search_words_max, str::to_owned)
}

impl UserFilter {
    /// The query for the accounts after `after`, the newest first.
    pub fn query(&self, after: Option<&UserCursor>) -> Document {
        let mut query = Document::new();
        let mut add = |name: &str, condition: Option<Bson>| {
            query.extend(condition.map(|condition| (name.to_owned(), condition)));
        };
        add("email", self.email.clone().map(Bson::from));
        add("role", self.role.map(|role| role.name().into()));
        // Accounts of earlier versions do not say it.
        add(
            "disabled",
            self.disabled.map(|disabled| match disabled {
                true => true.into(),
                false => doc! { "$ne": true }.into(),
            }),
        );
        add("_id", after.map(|after| doc! { "$lt": after.user }.into()));
        let words = self.words.iter().map(|word| {
            let contains = doc! { "$regex": literal_pattern(word), "$options": "i" };
            Bson::from(doc! { "$or": [{ "name": contains.clone() }, { "email": contains }] })
        });
        add("$and", (!self.words.is_empty()).then(|| words.collect::<Vec<_>>().into()));
        query
    }
}

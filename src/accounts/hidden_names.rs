//! Hidden names: by their owners' choice, or by an admin.
//!
//! A purchase takes its buyer's name from the token, so a token of an account whose name is hidden says `Anonymous`, and a
//! change ends the tokens that say otherwise.

use std::time::Duration;

use mongodb::bson::doc;
use mongodb::options::Hint;

use super::access::{ENDED, check_account};
use super::current_user::CurrentUser;
use super::service::{Accounts, ending_tokens, generation};
use crate::error::{Error, Result};
use crate::model::audit::{Action, Actor};
use crate::model::id::Id;
use crate::model::text::ANONYMOUS;
use crate::model::user::User;
use crate::store::Store;
use crate::store::schema::own_purchases;

/// When all purchases with an earlier token are made or refused: two seconds, and the time of a batch.
const LATE_PURCHASES_MS: u64 = 4_000;

impl Accounts {
    /// Hides the own name from everybody but admins, or shows it again. All earlier tokens of the account end.
    ///
    /// # Errors
    /// `not_found` without an account; `unauthenticated` if the token counts no more; those of `Store::transact`.
    pub async fn hide_own_name(&self, user: &CurrentUser, hide: bool, actor: Actor) -> Result<User> {
        let account = self.find(user.id).await?.ok_or(Error::NO_ACCOUNT)?;
        check_account(&account, user)?;
        let account = match account.hide_name == hide {
            true => account,
            false => {
                let as_read = doc! {
                    "_id": user.id, "disabled": { "$ne": true }, "tokenGeneration": generation(account.token_generation),
                };
                let mut update = ending_tokens();
                update.insert("$set", doc! { "hideName": hide });
                let entry = self.entry(&actor.of(user.id), Action::UserChanged, user.id);
                let entry = entry.with_change(doc! { "hideName": !hide }, doc! { "hideName": hide });
                let changed = self.change_account(as_read, update, move |_, _| entry.clone()).await?;
                // The tokens were ended meanwhile, or the account was disabled.
                changed.ok_or(ENDED)?
            }
        };
        self.access.note_account(&account);
        if hide {
            self.hide_in_purchases(account.id).await?;
        }
        Ok(account)
    }

    /// Takes the name of a buyer out of earlier purchases, and a moment later out of those that were made meanwhile: an earlier
    /// token counts for two more seconds elsewhere.
    pub(super) async fn hide_in_purchases(&self, user: Id) -> Result<()> {
        hide(&self.store, user).await?;
        let store = self.store.clone();
        self.store.spawn(async move {
            tokio::time::sleep(Duration::from_millis(LATE_PURCHASES_MS)).await;
            if let Err(error) = hide(&store, user).await {
                let user_id = user.to_hex();
                tracing::warn!(
                    user_id,
                    "a late purchase of {user_id} may show a hidden name: {}",
                    error.code().title()
                );
            }
        });
        Ok(())
    }
}

/// Hides the name, unless it is shown again by now.
async fn hide(store: &Store, user: Id) -> Result<()> {
    let (users, purchases) = (store.users.clone(), store.purchases.clone());
    store
        .transact(move |session| {
            let (users, purchases) = (users.clone(), purchases.clone());
            Box::pin(async move {
                let hidden = doc! { "_id": user, "hideName": true };
                if users.find_one(hidden).session(&mut *session).await?.is_none() {
                    return Ok(());
                }
                let named = doc! { "userId": user, "buyer": { "$ne": ANONYMOUS } };
                let update = purchases.update_many(named, doc! { "$set": { "buyer": ANONYMOUS } });
                update.hint(Hint::Keys(own_purchases())).session(session).await?;
                Ok(())
            })
        })
        .await
}

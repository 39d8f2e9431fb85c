//! Hidden names: by their owners' choice, or by an admin.
//!
//! A purchase takes its buyer's name from the token, so a token of an account whose name is hidden says `Anonymous`, and a
//! change ends the tokens that say otherwise.

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
use crate::store::schema::own_purchases;

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

    /// Takes the name of a buyer out of earlier purchases. One that is being made with an earlier token, which counts for two
    /// more seconds elsewhere, may keep it: hiding the name again finds it.
    pub(super) async fn hide_in_purchases(&self, user: Id) -> Result<()> {
        let purchases = self.store.purchases.clone();
        self.store
            .transact(move |session| {
                let purchases = purchases.clone();
                Box::pin(async move {
                    let named = doc! { "userId": user, "buyer": { "$ne": ANONYMOUS } };
                    let update = purchases.update_many(named, doc! { "$set": { "buyer": ANONYMOUS } });
                    update.hint(Hint::Keys(own_purchases())).session(session).await?;
                    Ok(())
                })
            })
            .await
    }
}

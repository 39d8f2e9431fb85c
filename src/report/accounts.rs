//! How old the accounts of the buyers were, and which of them have nearly the same address.

use std::collections::HashMap;

use mongodb::bson::{RawDocument, oid::ObjectId};

use super::view::{AccountsView, AgeView, SharedAddressView};

/// The bounds of the ages, in seconds: a minute, an hour, a day, a week, thirty days.
const AGES_SECONDS: [i64; 5] = [60, 3_600, 86_400, 604_800, 2_592_000];

#[derive(Default)]
pub struct Accounts {
    purchases: i64,
    unknown: i64,
    /// Purchases by age; the last are older than all bounds.
    ages: [i64; AGES_SECONDS.len() + 1],
    /// The buyers of each mailbox, with their purchases.
    mailboxes: HashMap<String, Vec<(ObjectId, i64)>>,
}

impl Accounts {
    /// Takes a purchase with what is known of its buyer's account.
    pub fn take(&mut self, purchase: &RawDocument) {
        self.purchases += 1;
        let age_ms = purchase.get_datetime("purchasedAt").ok().zip(purchase.get_datetime("createdAt").ok());
        match age_ms.map(|(at, created_at)| at.timestamp_millis() - created_at.timestamp_millis()) {
            None => self.unknown += 1,
            Some(age_ms) => {
                let bound = AGES_SECONDS.iter().position(|seconds| age_ms < seconds * 1_000);
                self.ages[bound.unwrap_or(AGES_SECONDS.len())] += 1;
            }
        }
        let (Ok(user), Ok(email)) = (purchase.get_object_id("userId"), purchase.get_str("email")) else {
            return;
        };
        let buyers = self.mailboxes.entry(mailbox(email)).or_default();
        match buyers.iter_mut().find(|(buyer, _)| *buyer == user) {
            Some((_, purchases)) => *purchases += 1,
            None => buyers.push((user, 1)),
        }
    }

    /// With at most so many addresses: those of most accounts.
    pub fn view(self, addresses_max: usize) -> AccountsView {
        let bounds = AGES_SECONDS.into_iter().map(Some).chain([None]);
        let by_age = bounds.zip(self.ages);
        let shared = self.mailboxes.into_iter().filter(|(_, buyers)| buyers.len() > 1);
        let mut shared: Vec<_> = shared
            .map(|(address, buyers)| SharedAddressView {
                address,
                accounts: i64::try_from(buyers.len()).unwrap_or(i64::MAX),
                purchases: buyers.iter().map(|(_, purchases)| purchases).sum(),
            })
            .collect();
        shared.sort_by(|a, b| b.accounts.cmp(&a.accounts).then_with(|| a.address.cmp(&b.address)));
        shared.truncate(addresses_max);
        AccountsView {
            purchases: self.purchases,
            unknown: self.unknown,
            by_age: by_age.map(|(below_seconds, purchases)| AgeView { below_seconds, purchases }).collect(),
            shared_addresses: shared,
        }
    }
}

/// An address without what many providers ignore: dots in the name, and what follows a plus. At others this may be two people,
/// so it is a hint, and no account is refused for it: those that are surely one mailbox cannot have two accounts anyway.
fn mailbox(email: &str) -> String {
    let email = email.to_lowercase();
    let Some((name, domain)) = email.rsplit_once('@') else { return email };
    let name = name.split('+').next().unwrap_or_default().replace('.', "");
    format!("{name}@{domain}")
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{DateTime, rawdoc};

    use super::*;

    #[test]
    fn ages_and_shared_addresses_are_counted() {
        let mut accounts = Accounts::default();
        let at = DateTime::from_millis(10_000_000_000);
        let seconds_ago = |seconds: i64| DateTime::from_millis(10_000_000_000 - seconds * 1_000);
        for (user, age, email) in [
            (1_u8, 59, "ada@shop.example"),
            (1, 60, "ada@shop.example"),
            (2, 3_600, "A.da+2@shop.example"),
            (3, 9_999_999, "eve@shop.example"),
        ] {
            accounts.take(&rawdoc! {
                "userId": ObjectId::from_bytes([user; 12]), "purchasedAt": at, "createdAt": seconds_ago(age), "email": email,
            });
        }
        accounts.take(&rawdoc! { "userId": ObjectId::from_bytes([9; 12]), "purchasedAt": at });
        let view = accounts.view(50);
        assert_eq!((view.purchases, view.unknown), (5, 1));
        let by_age: Vec<_> = view.by_age.iter().map(|age| age.purchases).collect();
        assert_eq!(by_age, [1, 1, 1, 0, 0, 1]);
        let [shared] = &view.shared_addresses[..] else { panic!("{:?}", view.shared_addresses) };
        assert_eq!((&*shared.address, shared.accounts, shared.purchases), ("ada@shop.example", 2, 3));
    }
}

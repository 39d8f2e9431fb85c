//! The purchases of one batch while they are being decided: the requests, their keys, and the replies.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use mongodb::bson::doc;
use tokio::time::Instant;

use super::queued::{Queued, QueuedChange, QueuedPurchase, Receipt};
use super::sale_view::SaleView;
use crate::accounts::access::Access;
use crate::accounts::registrations::Registrations;
use crate::error::{Error, Result};
use crate::model::id::Id;
use crate::model::purchase::{Purchase, PurchaseStatus};
use crate::purchases::history;
use crate::purchases::settle::transitions::Transition;
use crate::purchases::settle::{Outcome, Refusal, Request, Settlement};
use crate::purchases::used_keys::UsedKeys;
use crate::sabotage::Mistake;
use crate::store::Store;

/// The result of looking up the keys of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyCheck {
    /// The lookup showed nothing new.
    Clean,
    /// A key was used for another product, or for this one on another server: the batch has to be settled again.
    Found,
    /// A key was used for this product without the lane knowing: what the lane knows is wrong.
    Contradiction,
}

mod changes;

/// What everybody in a batch is told.
#[derive(Default)]
pub struct Replies {
    /// Those to the purchases, in the order of the requests.
    pub purchases: Vec<Result<Receipt>>,
    /// Those to the changes, in the order of the transitions.
    pub changes: Vec<Result<Receipt>>,
}

pub struct Batch {
    /// In order of arrival.
    pub requests: Vec<Request>,
    /// When everybody has to be answered.
    pub deadline: Instant,
    /// Names the batch in the log.
    pub id: Id,
    product_id: Id,
    waiting: Vec<QueuedPurchase>,
    /// What becomes of earlier purchases, in order of arrival.
    pub transitions: Vec<Transition>,
    changing: Vec<QueuedChange>,
    /// The purchases of `transitions` are as of the product that was read last.
    are_transitions_read: bool,
    /// Whether the key of each request was looked up.
    keys_checked: Vec<bool>,
    /// It was looked up when the accounts were made of which the tokens do not say it.
    has_registrations: bool,
    /// One of its purchases existed already, so its buyers have to be known.
    pub has_repeated: bool,
}

impl Batch {
    pub fn new(product_id: Id, arrived: Vec<Queued>, deadline: Instant, used_keys: &UsedKeys) -> Self {
        let request = |waiting: &QueuedPurchase| {
            let mut request = waiting.request.clone();
            request.key_used_elsewhere = request
                .key
                .as_deref()
                .is_some_and(|key| used_keys.is_used_elsewhere(request.user, key, product_id));
            request
        };
        let (mut waiting, mut changing) = (Vec::with_capacity(arrived.len()), Vec::new());
        for queued in arrived {
            match queued {
                Queued::Purchase(purchase) => waiting.push(purchase),
                Queued::Change(change) => changing.push(change),
            }
        }
        let transition =
            |change: &QueuedChange| Transition { wish: change.asked.wish.clone(), purchase: None };
        Self {
            transitions: changing.iter().map(transition).collect(),
            changing,
            are_transitions_read: false,
            requests: waiting.iter().map(request).collect(),
            deadline,
            id: Id::new(),
            product_id,
            keys_checked: vec![false; waiting.len()],
            waiting,
            has_registrations: false,
            has_repeated: false,
        }
    }

    /// When each of its purchases has arrived.
    pub fn arrivals(&self) -> impl Iterator<Item = Instant> {
        self.waiting.iter().map(|waiting| waiting.since)
    }

    /// When its purchases have arrived: half of them have waited longer, half less.
    pub fn median_arrival(&self) -> Option<Instant> {
        self.waiting.get(self.waiting.len() / 2).map(|waiting| waiting.since)
    }

    /// Drops the requests whose clients have hung up: they may have asked elsewhere since. A change is made all the same:
    /// asking for it again makes no difference. True if nobody is left.
    pub fn drop_gone(&mut self) -> bool {
        if Mistake::SettleForClientThatIsGone.is_made() {
            return false;
        }
        let is_there: Vec<_> = self.waiting.iter().map(|waiting| !waiting.is_gone()).collect();
        if is_there.contains(&false) {
            retain(&mut self.waiting, &is_there);
            retain(&mut self.requests, &is_there);
            retain(&mut self.keys_checked, &is_there);
        }
        self.waiting.is_empty() && self.changing.is_empty()
    }

    /// Refuses the requests of those whose access has ended since they came. True if nobody is left.
    pub fn refuse_ended(&mut self, access: &Access) -> bool {
        let refusals = access.recheck(self.waiting.iter().map(|waiting| &waiting.user));
        if refusals.iter().any(Option::is_some) {
            let counts: Vec<_> = refusals.iter().map(Option::is_none).collect();
            retain(&mut self.requests, &counts);
            retain(&mut self.keys_checked, &counts);
            let waiting = std::mem::take(&mut self.waiting);
            for (waiting, refusal) in waiting.into_iter().zip(refusals) {
                match refusal {
                    Some(refusal) => waiting.reply(Err(refusal), Some(self.id)),
                    None => self.waiting.push(waiting),
                }
            }
        }
        self.refuse_ended_changes(access);
        self.waiting.is_empty() && self.changing.is_empty()
    }

    /// Whether the request at `index` has a key that is not known to be another product's.
    pub fn has_key(&self, index: usize) -> bool {
        self.requests[index].key.is_some() && !self.requests[index].key_used_elsewhere
    }

    /// Looks up the keys of the `wanted` requests among all purchases, once per request until more is sold.
    ///
    /// A request that buys needs no lookup: if its key was used, the unique index on (user, key) refuses its commit.
    pub async fn check_keys(
        &mut self,
        store: &Store,
        used_keys: &UsedKeys,
        mut view: Option<&mut SaleView>,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<KeyCheck> {
        let unchecked = |index: &usize| self.has_key(*index) && !self.keys_checked[*index] && wanted(*index);
        let indexes: Vec<_> = (0..self.requests.len()).filter(unchecked).collect();
        if indexes.is_empty() {
            return Ok(KeyCheck::Clean);
        }
        let users: Vec<_> = indexes.iter().map(|&index| self.requests[index].user).collect();
        let keys: Vec<_> = indexes.iter().filter_map(|&index| self.requests[index].key.as_deref()).collect();
        let query = doc! { "userId": { "$in": users }, "idempotencyKey": { "$in": keys } };
        let used: Vec<Purchase> = history::find_all(store, query).await?;
        let by_key =
            |purchase: Purchase| Some(((purchase.user_id, purchase.idempotency_key.clone()?), purchase));
        let used: HashMap<_, _> = used.into_iter().filter_map(by_key).collect();
        let mut check = KeyCheck::Clean;
        for index in indexes {
            self.keys_checked[index] = true;
            let request = &mut self.requests[index];
            let Some(key) = request.key.as_deref() else { continue };
            match used.get(&(request.user, key.to_owned())) {
                None => {}
                Some(purchase) if purchase.product_id != self.product_id => {
                    used_keys.record(request.user, key, purchase.product_id);
                    request.key_used_elsewhere = true;
                    check = KeyCheck::Found;
                }
                Some(purchase) => {
                    let Some(known) = view.as_deref_mut() else { continue };
                    match known.buyers.purchase_with_key(request.user, key) {
                        Some(_) => {}
                        None if known.is_behind() => {
                            known.buyers.record(purchase);
                            check = KeyCheck::Found;
                        }
                        None => return Ok(KeyCheck::Contradiction),
                    }
                }
            }
        }
        Ok(check)
    }

    /// Looks up, once, when the accounts were made whose tokens do not say it, if that decides anything. True if the batch
    /// has to be settled again.
    pub async fn learn_registrations(
        &mut self,
        store: &Store,
        registrations: &Registrations,
        settlement: &Settlement,
    ) -> Result<bool> {
        let too_new = Outcome::Refused(Refusal::AccountTooNew);
        let is_unknown = |request: &&Request| request.registered_at.is_none();
        let mut outcomes = settlement.outcomes.iter().zip(&self.requests);
        let decides = outcomes.any(|(outcome, request)| *outcome == too_new && is_unknown(&request));
        if !decides || std::mem::replace(&mut self.has_registrations, true) {
            return Ok(false);
        }
        let users = self.requests.iter().filter(is_unknown).map(|request| request.user).collect();
        let found = registrations.of(store, users).await?;
        for request in self.requests.iter_mut().filter(|request| request.registered_at.is_none()) {
            request.registered_at = found.get(&request.user).copied();
        }
        Ok(!found.is_empty())
    }

    /// Looks up the keys of all requests again, after a unique index has refused a purchase.
    pub async fn check_keys_again(
        &mut self,
        store: &Store,
        used_keys: &UsedKeys,
        view: &mut SaleView,
    ) -> Result<KeyCheck> {
        self.forget_key_checks();
        self.check_keys(store, used_keys, Some(view), |_| true).await
    }

    /// To be called when more was sold since the lookup, perhaps with one of the keys.
    pub fn forget_key_checks(&mut self) {
        self.keys_checked.fill(false);
    }

    /// The users whose refusal depends on what they have bought, which may be more than is known.
    pub fn refused_buyers(&self, settlement: &Settlement) -> Vec<Id> {
        let is_refused =
            |outcome: &Outcome| matches!(outcome, Outcome::Refused(refusal) if refusal.depends_on_history());
        let outcomes = settlement.outcomes.iter().zip(&self.requests);
        outcomes.filter(|(outcome, _)| is_refused(outcome)).map(|(_, request)| request.user).collect()
    }

    /// Reads the purchases that this batch repeats.
    pub async fn read_replayed(
        &self,
        store: &Store,
        settlement: &Settlement,
    ) -> Result<HashMap<Id, Arc<Purchase>>> {
        let ids: HashSet<_> = settlement.outcomes.iter().filter_map(replayed).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let query = doc! { "_id": { "$in": ids.into_iter().collect::<Vec<_>>() } };
        let purchases: Vec<Purchase> = history::find_all(store, query).await?;
        Ok(purchases.into_iter().map(|purchase| (purchase.id, Arc::new(purchase))).collect())
    }

    /// The documents of the new purchases, by sequence, which is the order of the requests.
    pub fn purchases(&self, settlement: &Settlement, view: &SaleView) -> Vec<Purchase> {
        let bought =
            settlement.outcomes.iter().zip(&self.waiting).filter_map(|(outcome, waiting)| match outcome {
                Outcome::Bought { sequence, first_unit } => Some((waiting, *sequence, *first_unit)),
                _ => None,
            });
        bought
            .map(|(waiting, sequence, first_unit)| Purchase {
                id: match Mistake::NewIdOnRetriedCommit.is_made() {
                    true => Id::new(),
                    false => waiting.purchase_id,
                },
                product_id: self.product_id,
                user_id: waiting.request.user,
                buyer: waiting.buyer.clone(),
                quantity: waiting.request.quantity,
                unit_price: view.state.price.clone(),
                sequence,
                first_unit,
                purchased_at: view.state.updated_at,
                idempotency_key: waiting.request.key.as_deref().map(str::to_owned),
                network: waiting.network,
                status: match view.state.payment_window_seconds {
                    Some(_) => PurchaseStatus::Pending,
                    None => PurchaseStatus::Confirmed,
                },
                expires_at: None,
                status_changed: None,
                payment_reference: None,
                refund_due: false,
                lapsed: false,
                changed_in_version: None,
            })
            .collect()
    }

    pub fn reply(self, replies: Replies) {
        for (waiting, reply) in self.waiting.into_iter().zip(replies.purchases) {
            waiting.reply(reply, Some(self.id));
        }
        for (changing, reply) in self.changing.into_iter().zip(replies.changes) {
            changing.reply(reply, Some(self.id));
        }
    }

    /// The same error for everybody.
    pub fn all(&self, error: &Error) -> Replies {
        Replies {
            purchases: self.waiting.iter().map(|_| Err(error.clone())).collect(),
            changes: self.changing.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// The replies if the product does not exist.
    pub fn replies_without_product(&self) -> Replies {
        let reply = |request: &Request| match request.key_used_elsewhere {
            true => Err(Error::IdempotencyKeyReused),
            false => Err(Error::ProductNotFound),
        };
        Replies {
            purchases: self.requests.iter().map(reply).collect(),
            changes: self.changing.iter().map(|_| Err(Error::PurchaseNotFound)).collect(),
        }
    }

    /// The replies once the settlement holds: the purchases that it made, by sequence, and those that it changed.
    pub fn replies(
        &self,
        settlement: &Settlement,
        view: &SaleView,
        (purchases, changed): (&[Arc<Purchase>], &[Purchase]),
        replayed: &HashMap<Id, Arc<Purchase>>,
    ) -> Replies {
        let mut replies: Vec<Result<Receipt>> = Vec::with_capacity(settlement.outcomes.len());
        let mut made = purchases.iter();
        for outcome in &settlement.outcomes {
            let reply = match outcome {
                Outcome::Bought { .. } => {
                    let purchase = made.next().cloned().ok_or(Error::Internal);
                    purchase.map(|purchase| Receipt { purchase, replayed: false })
                }
                Outcome::Replayed(id) => replay(*id, replayed),
                Outcome::ReplayedInBatch(index) => {
                    replies[*index].clone().map(|receipt| Receipt { replayed: true, ..receipt })
                }
                Outcome::Refused(refusal) => Err(view.error_of(*refusal)),
            };
            replies.push(reply);
        }
        Replies { purchases: replies, changes: self.change_replies(settlement, changed) }
    }

    /// The replies if the commit got no answer: only what was committed before is certain.
    pub fn replies_in_doubt(
        &self,
        settlement: &Settlement,
        replayed: &HashMap<Id, Arc<Purchase>>,
    ) -> Replies {
        let reply = |(outcome, waiting): (&Outcome, &QueuedPurchase)| match outcome {
            Outcome::Bought { .. } => Err(Error::OutcomeUnknown { purchase_id: Some(waiting.purchase_id) }),
            Outcome::ReplayedInBatch(index) => {
                Err(Error::OutcomeUnknown { purchase_id: Some(self.waiting[*index].purchase_id) })
            }
            Outcome::Replayed(id) => replay(*id, replayed),
            Outcome::Refused(_) => Err(Error::DatabaseUnavailable),
        };
        Replies {
            purchases: settlement.outcomes.iter().zip(&self.waiting).map(reply).collect(),
            changes: self.change_replies_in_doubt(settlement),
        }
    }
}

fn replayed(outcome: &Outcome) -> Option<Id> {
    match outcome {
        Outcome::Replayed(id) => Some(*id),
        _ => None,
    }
}

fn replay(id: Id, replayed: &HashMap<Id, Arc<Purchase>>) -> Result<Receipt> {
    let purchase = replayed.get(&id).cloned().ok_or_else(|| {
        tracing::error!("purchase {id} is known, but cannot be read");
        Error::Internal
    })?;
    Ok(Receipt { purchase, replayed: true })
}

/// Keeps the items at whose index `is_kept` is true.
fn retain<T>(items: &mut Vec<T>, is_kept: &[bool]) {
    let mut is_kept = is_kept.iter();
    items.retain(|_| is_kept.next().copied().unwrap_or_default());
}

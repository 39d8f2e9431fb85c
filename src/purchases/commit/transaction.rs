//! One transaction for the changes of one or many products. For each product, either all purchases and the reduced
//! stock are there, or nothing is.

use std::collections::HashMap;
use std::mem;
use std::time::Duration;

use mongodb::ClientSession;
use mongodb::bson::{DateTime, Document, RawDocumentBuf, doc};
use mongodb::error::Error as DatabaseError;
use mongodb::options::{Hint, ReturnDocument};
use tokio::time::Instant;

use super::change::{Change, CommitOutcome, Effect, PendingChange};
use super::transitions::{self, NotAsRead};
use crate::model::id::Id;
use crate::purchases::sale_state::SaleState;
use crate::purchases::settle::Window;
use crate::purchases::settle::transitions::Figures;
use crate::sabotage::Mistake;
use crate::store::transaction::{self, COMMIT_RETRY_MS};
use crate::store::{Store, abandoned_transactions, failure, schema};

/// Runs one transaction for the whole group and tells each lane what became of its change. Returns the group if one
/// member made it fail; nothing was written, so the caller retries it in halves, until the culprit is alone.
pub async fn transact(store: &Store, mut group: Vec<PendingChange>) -> Vec<PendingChange> {
    let mut session = match begin(store).await {
        Ok(session) => session,
        Err(error) => {
            tell_all(group, || CommitOutcome::Failed(Some(error.clone())));
            return Vec::new();
        }
    };
    let states = match prepare(store, &mut session, &mut group).await {
        Ok(states) => states,
        Err(error) => {
            match failure::is_unavailable(&error) {
                true => abandoned_transactions::end_sale(store, session).await,
                false => abort(store, session).await,
            }
            return nothing_happened(group, &error);
        }
    };
    let mut sold = Vec::with_capacity(group.len());
    for (pending, state) in group.into_iter().zip(states) {
        match state {
            Some(state) => sold.push((pending, state)),
            None => pending.tell(CommitOutcome::Stale),
        }
    }
    if !sold.is_empty() && sold.iter().all(|(pending, _)| pending.begin_commit()) {
        finish(store, session, sold).await;
    } else {
        abort(store, session).await;
        // A lane that gave up does not receive this; the others settle again.
        tell_all(sold.into_iter().map(|(pending, _)| pending), || CommitOutcome::Stale);
    }
    Vec::new()
}

fn tell_committed(sold: Vec<(PendingChange, SaleState)>) {
    for (mut pending, state) in sold {
        let purchases = mem::take(&mut pending.change.purchases);
        let changed = mem::take(&mut pending.change.transitions);
        let changed = changed.into_iter().map(|change| change.after).collect();
        pending.tell(CommitOutcome::Committed { state, purchases, changed });
    }
}

fn tell_all(group: impl IntoIterator<Item = PendingChange>, outcome: impl Fn() -> CommitOutcome) {
    for pending in group {
        pending.tell(outcome());
    }
}

fn nothing_happened(group: Vec<PendingChange>, error: &DatabaseError) -> Vec<PendingChange> {
    if group.len() > 1 && !failure::is_unavailable(error) {
        tracing::debug!("a transaction of {} products is run again in halves: {error}", group.len());
        return group;
    }
    tell_all(group, || {
        if error.get_custom::<NotAsRead>().is_some() {
            CommitOutcome::Stale
        } else if failure::is_duplicate_key(error) {
            CommitOutcome::Duplicate
        } else if failure::is_transient(error) {
            CommitOutcome::Transient(error.clone())
        } else {
            CommitOutcome::Failed(Some(error.clone()))
        }
    });
    Vec::new()
}

/// Begins a transaction in a session of `Store::sale_sessions`, which goes back there when it is over.
///
/// # Errors
/// The driver's.
pub async fn begin(store: &Store) -> Result<ClientSession, DatabaseError> {
    let mut session = store.sale_sessions.take().await?;
    transaction::begin(&mut session).await?;
    Ok(session)
}

/// Aborts a transaction whose statements were all answered.
async fn abort(store: &Store, mut session: ClientSession) {
    match transaction::abort(&mut session).await {
        true => store.sale_sessions.give_back(session),
        false => abandoned_transactions::end_sale(store, session).await,
    }
}

/// Changes the figures of the products, inserts the purchases, and changes earlier ones. Returns the products after that;
/// `None` for a product that was not as its settlement knew it, for which nothing else is written.
async fn prepare(
    store: &Store,
    session: &mut ClientSession,
    group: &mut [PendingChange],
) -> Result<Vec<Option<SaleState>>, DatabaseError> {
    let states = match group {
        // The most frequent case, in one round trip less.
        [alone] => vec![take_from_one(store, session, &alone.change).await?],
        _ => take_from_many(store, session, group).await?,
    };
    let (mut purchases, mut transitions, mut entries) = (Vec::new(), Vec::new(), Vec::new());
    for (pending, state) in group.iter_mut().zip(&states) {
        if let Some(state) = state {
            pending.change.date(state);
            purchases.extend(&pending.change.purchases);
            transitions.extend(&pending.change.transitions);
            entries.extend(&pending.change.entries);
        }
    }
    if !purchases.is_empty() {
        store.purchases.insert_many(purchases).session(&mut *session).await?;
    }
    if !transitions.is_empty() {
        transitions::write(store, session, &transitions).await?;
        store.audit.insert_many(entries).session(session).await?;
    }
    Ok(states)
}

/// Takes the units of one change from its product and returns the product after that. `None` if it was not as the
/// settlement knew it, or is not for sale: the caller must then abort the transaction, which may have taken the
/// units.
///
/// # Errors
/// The driver's.
pub async fn take_from_one(
    store: &Store,
    session: &mut ClientSession,
    change: &Change,
) -> Result<Option<SaleState>, DatabaseError> {
    let effect = change.effect();
    // The version alone implies the stock. The query checks both, so that no mistake in here can oversell.
    let mut as_settled = doc! { "_id": change.product_id, "version": change.state.version };
    as_settled.extend(allowed(&effect));
    if Mistake::NoVersionCheck.is_made() {
        as_settled.remove("version");
    }
    let mut taking = taking(store, &effect);
    let mut dates = doc! { "updatedAt": true };
    if effect.reopens {
        dates.insert("reopenedAt", true);
    }
    taking.insert("$currentDate", dates);
    let state = store
        .products
        .clone_with_type::<SaleState>()
        .find_one_and_update(as_settled, taking)
        .hint(Hint::Keys(by_id()))
        .projection(SaleState::projection())
        .return_document(ReturnDocument::After)
        .session(&mut *session)
        .await?;
    let before = change.state.updated_at;
    // `$$NOW` is the time when the update was sent, `$currentDate` when it was applied: the sale may have ended in between.
    // And purchases are dated no earlier than the last one, even if the clock was set back.
    let is_open = |state: &SaleState| {
        effect.count == 0
            || Mistake::OwnClockForWindow.is_made()
            || state.window(state.updated_at.max(before)) == Window::Open
    };
    let is_due =
        |state: &SaleState| change.expires_at().is_none_or(|expires_at| expires_at <= state.updated_at);
    let Some(mut state) = state.filter(is_open).filter(is_due) else {
        return Ok(None);
    };
    if state.updated_at < before {
        let unchanged = store
            .products
            .update_one(doc! { "_id": change.product_id }, doc! { "$max": { "updatedAt": before } });
        unchanged.session(session).await?;
        state.updated_at = before;
    }
    Ok(Some(state))
}

/// The same for many products, in two round trips. A multi-update reports how many products it matched, not which, so
/// they are read first, in the same snapshot. If anybody changes one of them after that, the whole update fails.
async fn take_from_many(
    store: &Store,
    session: &mut ClientSession,
    group: &[PendingChange],
) -> Result<Vec<Option<SaleState>>, DatabaseError> {
    let Snapshot { now, stocks } = read(store, session, group).await?;
    let mut alike: HashMap<Effect, Vec<Id>> = HashMap::new();
    let mut after = Vec::with_capacity(group.len());
    for PendingChange { change, .. } in group {
        let (effect, state_after) = (change.effect(), change.state_after(now));
        let is_open = effect.count == 0 || state_after.window(state_after.updated_at) == Window::Open;
        let is_due = change.expires_at().is_none_or(|expires_at| expires_at <= now);
        let is_as_settled = stocks.get(&change.product_id)
            == Some(&(change.state.version, change.state.stock))
            && is_open
            && is_due;
        if is_as_settled {
            alike.entry(effect).or_default().push(change.product_id);
        }
        after.push(is_as_settled.then_some(state_after));
    }
    if alike.is_empty() {
        return Ok(after);
    }
    let expected = alike.values().map(Vec::len).sum::<usize>();
    let updates: Vec<_> =
        alike.into_iter().map(|(effect, ids)| take_alike(store, ids, &effect, now)).collect();
    let command = doc! { "update": schema::PRODUCTS, "updates": updates };
    let reply = store.database.run_command(command).session(session).await?;
    // Errors of single updates are inside the reply.
    match reply.get_i32("n") {
        Ok(found) if usize::try_from(found) == Ok(expected) && !reply.contains_key("writeErrors") => {
            Ok(after)
        }
        _ => Err(DatabaseError::custom(format!("{expected} products should have been updated: {reply}"))),
    }
}

/// The products of a group as its transaction sees them.
struct Snapshot {
    now: DateTime,
    /// Version and units left, by product.
    stocks: HashMap<Id, (i64, i64)>,
}

/// Reads version and stock of those products that are for sale at this moment, or of which nothing is bought. Every change raises the version, so
/// the rest follows from it.
async fn read(
    store: &Store,
    session: &mut ClientSession,
    group: &[PendingChange],
) -> Result<Snapshot, DatabaseError> {
    let ids: Vec<_> = group.iter().map(|pending| pending.change.product_id).collect();
    let bare = group.iter().filter(|pending| pending.change.purchases.is_empty());
    let bare: Vec<_> = bare.map(|pending| pending.change.product_id).collect();
    let is_wanted = match bare.is_empty() {
        true => is_open(),
        false => doc! { "$or": [{ "$in": ["$_id", bare] }, is_open()] },
    };
    let mut readings = store
        .products
        .clone_with_type::<RawDocumentBuf>()
        .find(doc! { "_id": { "$in": &ids }, "$expr": is_wanted })
        .hint(Hint::Keys(by_id()))
        .projection(doc! { "version": 1, "stock": 1, "now": "$$NOW" })
        // All in one reply: a second round trip would hold up the transaction.
        .batch_size(u32::try_from(ids.len() + 1).unwrap_or(u32::MAX))
        .session(&mut *session)
        .await?;
    let mut snapshot = Snapshot { now: DateTime::MIN, stocks: HashMap::with_capacity(ids.len()) };
    while let Some(reading) = readings.next(session).await.transpose()? {
        snapshot.now = reading.get_datetime("now")?;
        let stock = (reading.get_i64("version")?, reading.get_i64("stock")?);
        snapshot.stocks.insert(reading.get_object_id("_id")?, stock);
    }
    Ok(snapshot)
}

/// The update of all products on which the changes have the same effect: mostly those that sell equally many units in
/// equally many purchases. The snapshot has shown them to
/// be as settled; MongoDB checks again what it can for all alike, so that no mistake in here can oversell.
fn take_alike(store: &Store, products: Vec<Id>, effect: &Effect, now: DateTime) -> Document {
    let mut taking = taking(store, effect);
    let mut dates = doc! { "updatedAt": now };
    if effect.reopens {
        dates.insert("reopenedAt", now);
    }
    taking.insert("$max", dates);
    let mut as_settled = doc! { "_id": { "$in": products } };
    // The window is checked again, as time has passed: once somebody was told that the sale is over, nothing is sold.
    as_settled.extend(allowed(effect));
    doc! {
        "q": as_settled,
        "u": taking,
        "multi": true,
        "hint": by_id(),
    }
}

/// The hint to find products by id: without it MongoDB weighs the index on the sale's start too, for each product
/// anew.
fn by_id() -> Document {
    doc! { "_id": 1 }
}

/// Whether the sale is open by the database's clock.
fn is_open() -> Document {
    if Mistake::OwnClockForWindow.is_made() {
        let now = DateTime::now();
        return doc! { "$and": [{ "$lte": ["$saleStartTime", now] }, { "$gt": ["$saleEndTime", now] }] };
    }
    doc! { "$and": [{ "$lte": ["$saleStartTime", "$$NOW"] }, { "$gt": ["$saleEndTime", "$$NOW"] }] }
}

/// What the figures must allow, and the window, if anything is bought.
fn allowed(effect: &Effect) -> Document {
    let mut allowed = doc! { "stock": { "$gte": -effect.figures.stock } };
    if effect.figures.held < 0 {
        allowed.insert("held", doc! { "$gte": -effect.figures.held });
    }
    if effect.count > 0 {
        allowed.insert("$expr", is_open());
    }
    allowed
}

/// Changes the figures and records the seller. A change stream reports only changed fields, so each sale has its own id.
fn taking(store: &Store, effect: &Effect) -> Document {
    let Figures { stock, held, sold, released } = effect.figures;
    let mut change = doc! { "stock": stock, "sold": sold, "purchaseCount": effect.count, "version": 1_i64 };
    // A product without a payment window has neither.
    if held != 0 {
        change.insert("held", held);
    }
    if released != 0 {
        change.insert("releasedCount", released);
    }
    let mut set = doc! { "seller": { "server": store.server, "sale": Id::new() } };
    if let Some(version) = effect.changed_version {
        set.insert("purchasesChangedVersion", version);
    }
    doc! { "$inc": change, "$set": set }
}

/// Sends the commit, repeatedly while its outcome is unknown and a lane waits for it.
async fn finish(store: &Store, mut session: ClientSession, mut sold: Vec<(PendingChange, SaleState)>) {
    let deadline = sold.iter().map(|(pending, _)| pending.deadline).max().unwrap_or_else(Instant::now);
    if Mistake::AnswerBeforeCommit.is_made() {
        tell_committed(mem::take(&mut sold));
    }
    loop {
        let Err(error) = session.commit_transaction().await else {
            store.note(&session);
            store.sale_sessions.give_back(session);
            tell_committed(sold);
            return;
        };
        if Mistake::NewIdOnRetriedCommit.is_made() && failure::is_unknown_commit(&error) {
            tell_all(sold.into_iter().map(|(pending, _)| pending), || CommitOutcome::Stale);
            return;
        }
        let retry_at = Instant::now() + Duration::from_millis(COMMIT_RETRY_MS);
        let is_over = failure::is_transient(&error);
        if !is_over {
            for (pending, _) in &sold {
                pending.span.in_scope(|| tracing::warn!("a commit got no clear answer: {error}"));
            }
        }
        if is_over || !failure::is_unknown_commit(&error) || retry_at >= deadline {
            tell_all(sold.into_iter().map(|(pending, _)| pending), || match is_over {
                true => CommitOutcome::Transient(error.clone()),
                false => CommitOutcome::Unknown,
            });
            match is_over {
                true => store.sale_sessions.give_back(session),
                false => abandoned_transactions::end_sale(store, session).await,
            }
            return;
        }
        tokio::time::sleep_until(retry_at).await;
    }
}

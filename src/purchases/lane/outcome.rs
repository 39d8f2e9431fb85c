//! How a lane commits what it has settled, and what it learns from the outcome.

use std::sync::Arc;

use mongodb::error::Error as DatabaseError;
use tokio::time::Instant;

use super::{Attempt, Doubt, Lane, RIVALS};
use crate::error::{Error, Result};
use crate::model::purchase::Purchase;
use crate::purchases::commit::change::{Change, CommitOutcome};
use crate::purchases::lane::batch::{Batch, KeyCheck};
use crate::purchases::lane::sale_view::SaleView;
use crate::purchases::sale_state::SaleState;
use crate::purchases::settle::Settlement;
use crate::purchases::settle::transitions::TransitionOutcome;
use crate::store::failure;

impl Lane {
    pub(super) async fn commit(&mut self, batch: &mut Batch, settlement: Settlement) -> Result<Attempt> {
        let replayed = batch.read_replayed(&self.registry.store, &settlement).await?;
        let Some(view) = self.view.take() else { return Ok(Attempt::Again(RIVALS)) };
        let (transitions, entries) = batch.changes(&settlement);
        let change = Change {
            product_id: self.product_id,
            state: view.state.clone(),
            figures: settlement.figures,
            purchases: batch.purchases(&settlement, &view),
            transitions,
            entries,
            has_collided: std::mem::take(&mut self.has_collided),
        };
        let next_version = change.state.version + 1;
        let made = |purchase: &Purchase| (purchase.id, purchase.user_id);
        let ids: Vec<_> = change.purchases.iter().map(made).collect();
        let changed_ids: Vec<_> = change.transitions.iter().map(|change| change.after.id).collect();
        let began = Instant::now();
        match self.commits.commit(change, batch.deadline).await {
            CommitOutcome::Committed { state, purchases, changed } => {
                self.rotation.took(began.elapsed());
                self.count(&settlement, &purchases);
                let (known, purchases) = self.learn(view, state, purchases, &changed);
                let replies = batch.replies(&settlement, known, (&purchases, &changed), &replayed);
                Ok(Attempt::Settled(replies))
            }
            CommitOutcome::Stale => {
                self.registry.metrics.count_retry("stale");
                self.view = Some(view);
                self.is_stale = true;
                Ok(Attempt::Again(RIVALS))
            }
            CommitOutcome::Duplicate => self.look_again(batch, view).await,
            CommitOutcome::Transient(error) => {
                self.view = Some(view);
                Ok(Attempt::Again(self.excuse(&error)))
            }
            CommitOutcome::NotBegun => {
                self.view = Some(view);
                Err(Error::Overloaded { detail: "Earlier transactions took too long; nothing was bought." })
            }
            CommitOutcome::Failed(error) => {
                let cause = error.map_or_else(|| "no answer in time".to_owned(), |error| error.to_string());
                tracing::error!("product {}: a batch was not committed: {cause}", self.product_id);
                Err(Error::DatabaseUnavailable)
            }
            CommitOutcome::Unknown => {
                self.registry.metrics.commits_in_doubt.inc();
                // Memory may be outdated now, and the change stream does not report this server's own sales.
                self.registry.catalogue.cache().mark(self.product_id, next_version);
                let (product_id, count) = (self.product_id, ids.len() + changed_ids.len());
                tracing::error!("product {product_id}: the outcome of {count} purchases is unknown");
                let made = ids.iter().map(|(purchase, _)| *purchase);
                let doubt = Doubt { purchases: made.chain(changed_ids).collect(), version: next_version };
                self.registry.in_doubt.add(ids);
                Ok(Attempt::Unknown(doubt, batch.replies_in_doubt(&settlement, &replayed)))
            }
        }
    }

    fn count(&self, settlement: &Settlement, purchases: &[Purchase]) {
        let payments = &self.registry.metrics.payments;
        purchases.iter().for_each(|purchase| payments.count_made(purchase));
        for outcome in &settlement.transitions {
            if let TransitionOutcome::Changed(step) = outcome {
                payments.count_change(&step.before, &step.after);
            }
        }
    }

    /// Records what was bought, and what was changed of earlier purchases.
    fn learn(
        &mut self,
        mut view: SaleView,
        state: SaleState,
        purchases: Vec<Purchase>,
        changed: &[Purchase],
    ) -> (&SaleView, Vec<Arc<Purchase>>) {
        let purchases = view.record(purchases);
        view.record_changes(changed);
        for purchase in &purchases {
            if let Some(key) = &purchase.idempotency_key {
                self.registry.used_keys.record(purchase.user_id, key, purchase.product_id);
            }
        }
        view.now = state.updated_at;
        let change = state.stock_change(self.registry.store.server);
        if self.registry.catalogue.cache().advance(self.product_id, change) {
            // The change stream does not report this server's own sales.
            self.registry.catalogue.refresh(self.product_id);
        }
        view.state = state;
        (self.view.insert(view), purchases)
    }

    /// Called after a unique index has refused the batch. Either a buyer has bought from a rival whose sales were not
    /// followed, or a key was used for another product since its lookup. Otherwise the view is wrong: start over.
    async fn look_again(&mut self, batch: &mut Batch, mut view: SaleView) -> Result<Attempt> {
        self.registry.metrics.count_retry("duplicate");
        if view.is_behind() {
            self.expect_repeats(batch, &view);
            self.view = Some(view);
        } else if batch.check_keys_again(&self.registry.store, &self.registry.used_keys, &mut view).await?
            == KeyCheck::Found
        {
            self.view = Some(view);
        } else {
            let product_id = self.product_id;
            tracing::warn!("product {product_id}: a purchase existed already; reading the sale again");
        }
        Ok(Attempt::Again(RIVALS))
    }

    /// The reply to everybody if no time is left after this error.
    fn excuse(&mut self, error: &DatabaseError) -> Error {
        let product_id = self.product_id;
        if failure::is_unavailable(error) {
            self.registry.metrics.count_retry("unavailable");
            tracing::warn!("product {product_id}: the database was lost in a transaction: {error}");
            return Error::DatabaseUnavailable;
        }
        self.registry.metrics.count_retry("conflict");
        self.has_collided = true;
        tracing::debug!("product {product_id}: a transaction is run again: {error}");
        RIVALS
    }
}

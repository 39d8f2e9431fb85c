//! How a lane decides what to do with a batch: it settles it on what is known, and learns what is not.

use super::{Lane, lasts};
use crate::error::Result;
use crate::purchases::commit::barrier::pass_barrier;
use crate::purchases::lane::batch::{Batch, KeyCheck};
use crate::purchases::lane::queued::Receipt;
use crate::purchases::lane::sale_view::SaleView;
use crate::purchases::sale_state::{SaleReading, SaleState, read_sale};
use crate::purchases::settle::{Outcome, Settlement, settle};

/// What is to be done with a batch.
pub(super) enum Plan {
    /// Commit this.
    Commit(Settlement),
    /// Nothing: everybody can be told.
    Reply(Vec<Result<Receipt>>),
    /// What was known was wrong: again.
    Again,
}

impl Lane {
    /// Settles the batch on what is known, and learns what is not.
    pub(super) async fn plan(&mut self, batch: &mut Batch) -> Result<Plan> {
        let registry = self.registry.clone();
        let (store, limits) = (&registry.store, &registry.limits);
        let mut is_current = false;
        // Refusals are only true of the product as it is now, whatever memory has heard.
        let mut has_to_be_read = false;
        let mut are_buyers_looked_up = false;
        let mut view = self.view.take();
        if let Some(known) = &view
            && registry.catalogue.cache().version_told(self.product_id) > known.state.version
        {
            // The change stream was faster than the failure of a transaction would be.
            self.is_stale = true;
        }
        loop {
            if view.is_none() || self.is_stale {
                let heard = view.as_ref().filter(|_| !has_to_be_read).and_then(|known| self.heard(known));
                is_current = heard.is_none();
                let reading = match heard {
                    Some(heard) => heard,
                    None => match read_sale(store, self.product_id).await? {
                        Some(reading) => reading,
                        None => return self.without_product(batch).await,
                    },
                };
                view = Some(match view {
                    None => {
                        batch.forget_key_checks();
                        self.listen();
                        SaleView::begin(self.product_id, reading)
                    }
                    Some(known) => {
                        if reading.state.purchase_count > known.state.purchase_count {
                            batch.forget_key_checks();
                        }
                        known.advance(store, limits, reading).await?
                    }
                });
                self.is_stale = false;
                are_buyers_looked_up = false;
            }
            let Some(known) = view.as_mut() else { continue };
            if known.is_behind() && (batch.has_repeated || lasts(self.repeats_until)) {
                known.catch_up(store, limits, batch.requests.len()).await?;
            }
            if self.remembered.note(known.buyers.count()) > limits.buyers_max
                || known.buyers.count() > limits.lane_buyers_max
            {
                known.forget();
            }
            known.learn(store, batch.requests.iter().map(|request| request.user)).await?;
            let settlement = settle(&known.sale(), &known.buyers, &batch.requests);
            if known.is_behind() && !are_buyers_looked_up {
                are_buyers_looked_up = true;
                let refused = batch.refused_buyers(&settlement);
                if !refused.is_empty() {
                    known.look_up(store, &refused).await?;
                    continue;
                }
            }
            let is_refused = |index: usize| matches!(settlement.outcomes[index], Outcome::Refused(_));
            match batch.check_keys(store, Some(known), is_refused).await? {
                KeyCheck::Clean => {}
                KeyCheck::Found => continue,
                KeyCheck::Contradiction => return Ok(Plan::Again),
            }
            if settlement.units > 0 {
                self.view = view;
                return Ok(Plan::Commit(settlement));
            }
            has_to_be_read = true;
            if !is_current {
                self.is_stale = true;
                continue;
            }
            // And a refusal with a key settles what became of an earlier try with it, perhaps on another server: that
            // one must not be committed afterwards. It would be committed on this very version of the product, on which
            // it was allowed; so only if the refusal comes from the clock, which has gone on since.
            if known.may_be_committed_late()
                && (0..batch.requests.len()).any(|index| batch.has_key(index) && is_refused(index))
            {
                self.barrier().await?;
                known.close();
                self.is_stale = true;
                continue;
            }
            let replayed = batch.read_replayed(store, &settlement).await?;
            let replies = batch.replies(&settlement, known, &[], &replayed);
            self.view = view;
            return Ok(Plan::Reply(replies));
        }
    }

    /// The product as memory has it, if somebody has told of a newer version than is known. A purchase may build on it, since
    /// its commit looks at the version; a refusal may not.
    fn heard(&self, known: &SaleView) -> Option<SaleReading> {
        let Some(product) = self.catalogue_entry.as_ref()?.0.current() else {
            self.registry.catalogue.refresh(self.product_id);
            return None;
        };
        let is_newer = product.version > known.state.version;
        is_newer
            .then(|| SaleReading { state: SaleState::of(&product), now: known.now.max(product.updated_at) })
    }

    /// Waits for as long as it takes; the batch's deadline ends it.
    async fn barrier(&self) -> Result<()> {
        while !pass_barrier(&self.registry.store, self.product_id).await? {
            // What holds the product may be of a server that is gone.
            self.registry.end_abandoned();
        }
        Ok(())
    }

    /// Without a product there is nothing to buy; but a key that was used says so first.
    async fn without_product(&mut self, batch: &mut Batch) -> Result<Plan> {
        self.view = None;
        batch.check_keys(&self.registry.store, None, |_| true).await?;
        Ok(Plan::Reply(batch.replies_without_product()))
    }
}

//! How a lane decides what to do with a batch: it settles it on what the lane knows, and reads what is missing.

use super::{Lane, lasts};
use crate::error::Result;
use crate::purchases::commit::barrier::pass_barrier;
use crate::purchases::lane::batch::{Batch, KeyCheck};
use crate::purchases::lane::queued::Receipt;
use crate::purchases::lane::sale_view::SaleView;
use crate::purchases::sale_state::{SaleReading, SaleState, read_sale};
use crate::purchases::settle::{Outcome, Settlement, settle};

pub(super) enum Plan {
    Commit(Settlement),
    /// There is nothing to commit: everybody can be answered.
    Reply(Vec<Result<Receipt>>),
    /// What the lane knew was wrong: try again.
    Again,
}

impl Lane {
    pub(super) async fn plan(&mut self, batch: &mut Batch) -> Result<Plan> {
        let registry = self.registry.clone();
        let (store, limits) = (&registry.store, &registry.limits);
        let mut is_current = false;
        // A refusal must be true of the product in the database now, so memory is not enough for it.
        let mut has_to_be_read = false;
        let mut are_buyers_looked_up = false;
        let mut view = self.view.take();
        if let Some(known) = &view
            && registry.catalogue.cache().version_told(self.product_id) > known.state.version
        {
            // The change stream reports this sooner than a failed transaction would.
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
            // Refusing a request with a key also decides an earlier attempt with that key, perhaps on another server,
            // which must not be committed afterwards. It could only be committed on this very version of the product,
            // on which it was allowed. So this concerns only refusals by the clock, which has moved on since.
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

    /// The product in memory, if newer than the view. A purchase may build on it, since its commit checks the
    /// version; a refusal may not.
    fn heard(&self, known: &SaleView) -> Option<SaleReading> {
        let Some(product) = self.catalogue_entry.as_ref()?.0.current() else {
            self.registry.catalogue.refresh(self.product_id);
            return None;
        };
        let is_newer = product.version > known.state.version;
        is_newer
            .then(|| SaleReading { state: SaleState::of(&product), now: known.now.max(product.updated_at) })
    }

    /// Retries without a limit: the batch's deadline ends it.
    async fn barrier(&self) -> Result<()> {
        while !pass_barrier(&self.registry.store, self.product_id).await? {
            // A transaction of a server that is gone may hold the product.
            self.registry.end_abandoned();
        }
        Ok(())
    }

    /// Nothing can be bought, but a key that was used for another product is reported first.
    async fn without_product(&mut self, batch: &mut Batch) -> Result<Plan> {
        self.view = None;
        batch.check_keys(&self.registry.store, None, |_| true).await?;
        Ok(Plan::Reply(batch.replies_without_product()))
    }
}

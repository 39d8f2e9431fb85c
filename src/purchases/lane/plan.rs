//! How a lane decides what to do with a batch: it settles it on what the lane knows, and reads what is missing.

use tokio::time::Instant;

use super::{Lane, lasts};
use crate::error::Result;
use crate::purchases::commit::barrier::pass_barrier;
use crate::purchases::lane::batch::Replies;
use crate::purchases::lane::batch::{Batch, KeyCheck};
use crate::purchases::lane::sale_view::SaleView;
use crate::purchases::sale_state::{Certainty, SaleReading, SaleState, read_sale};
use crate::purchases::settle::{Outcome, Settlement, settle};

pub(super) enum Plan {
    Commit(Settlement),
    /// There is nothing to commit: everybody can be answered.
    Reply(Replies),
    /// What the lane knew was wrong: try again.
    Again,
}

/// What the view stands on while a batch is planned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Basis {
    /// Nothing, or a version that is not the newest: the product has to be read. Memory will do for what a commit verifies.
    Outdated,
    /// The same, for an answer: only a confirmed read will do.
    Unconfirmed,
    /// What a commit verifies.
    Verifiable,
    /// A confirmed read: refusals can be answered.
    Confirmed,
}

/// What the next step is after a batch was settled.
enum Step {
    Done(Plan),
    /// More is known now: settle again.
    Settle,
    /// The product has to be read first.
    Read(Basis),
}

impl Lane {
    pub(super) async fn plan(&mut self, batch: &mut Batch) -> Result<Plan> {
        let mut basis = self.basis();
        let mut are_buyers_looked_up = false;
        let mut view = self.view.take();
        loop {
            if matches!(basis, Basis::Outdated | Basis::Unconfirmed) {
                (view, basis) = self.read(view, basis, batch).await?;
                are_buyers_looked_up = false;
            }
            // Settling again could buy for a client that has asked elsewhere since.
            if batch.drop_gone() || self.refuses_all(batch).await? {
                self.view = view;
                return Ok(Plan::Reply(Replies::default()));
            }
            let Some(known) = view.as_mut() else {
                if basis == Basis::Confirmed {
                    return self.without_product(batch).await;
                }
                basis = Basis::Unconfirmed;
                continue;
            };
            match self.step(known, basis, batch, &mut are_buyers_looked_up).await? {
                Step::Done(Plan::Again) => return Ok(Plan::Again),
                Step::Done(plan) => {
                    self.view = view;
                    return Ok(plan);
                }
                Step::Settle => {}
                Step::Read(next) => basis = next,
            }
        }
    }

    /// Judges once more whether the buyers' tokens count: some have waited. True if nobody is left.
    async fn refuses_all(&self, batch: &mut Batch) -> Result<bool> {
        let access = &self.registry.access;
        access.await_recent(Instant::now()).await?;
        Ok(batch.refuse_ended(access))
    }

    fn basis(&mut self) -> Basis {
        let Some(known) = &self.view else { return Basis::Outdated };
        // The change stream reports a newer version sooner than a failed transaction would.
        let is_outdated =
            self.registry.catalogue.cache().version_reported(self.product_id) > known.state.version;
        match std::mem::take(&mut self.is_stale) || is_outdated {
            true => Basis::Outdated,
            false => Basis::Verifiable,
        }
    }

    /// Brings the view up to date, from memory where that will do. No view if there is no such product.
    async fn read(
        &mut self,
        view: Option<SaleView>,
        basis: Basis,
        batch: &mut Batch,
    ) -> Result<(Option<SaleView>, Basis)> {
        let registry = self.registry.clone();
        let (store, limits) = (&registry.store, &registry.limits);
        let heard = view.as_ref().filter(|_| basis == Basis::Outdated).and_then(|known| self.heard(known));
        let (reading, basis) = match (heard, basis) {
            (Some(heard), _) => (Some(heard), Basis::Verifiable),
            (None, Basis::Unconfirmed) => {
                (read_sale(store, self.product_id, Certainty::Confirmed).await?, Basis::Confirmed)
            }
            (None, _) => (read_sale(store, self.product_id, Certainty::Verified).await?, Basis::Verifiable),
        };
        batch.forget_transitions();
        let Some(reading) = reading else { return Ok((None, basis)) };
        let view = match view {
            None => {
                batch.forget_key_checks();
                self.listen();
                SaleView::begin(self.product_id, reading)
            }
            Some(known) => {
                if basis == Basis::Confirmed || reading.state.purchase_count > known.state.purchase_count {
                    batch.forget_key_checks();
                }
                known.advance(store, limits, reading).await?
            }
        };
        Ok((Some(view), basis))
    }

    /// Settles the batch once.
    async fn step(
        &mut self,
        known: &mut SaleView,
        basis: Basis,
        batch: &mut Batch,
        are_buyers_looked_up: &mut bool,
    ) -> Result<Step> {
        let registry = self.registry.clone();
        let store = &registry.store;
        batch.read_transitions(store).await?;
        self.know_buyers(known, batch).await?;
        let settlement = settle(&known.sale(), &known.buyers, &batch.requests, &batch.transitions);
        if batch.learn_registrations(store, &registry.registrations, &settlement).await? {
            return Ok(Step::Settle);
        }
        if known.is_behind() && !std::mem::replace(are_buyers_looked_up, true) {
            let refused = batch.refused_buyers(&settlement);
            if !refused.is_empty() {
                known.look_up(store, &refused).await?;
                return Ok(Step::Settle);
            }
        }
        if settlement.needs_confirmation() && basis != Basis::Confirmed {
            return Ok(Step::Read(Basis::Unconfirmed));
        }
        let is_refused = |index: usize| matches!(settlement.outcomes[index], Outcome::Refused(_));
        match batch.check_keys(store, &registry.used_keys, Some(known), is_refused).await? {
            KeyCheck::Clean => {}
            KeyCheck::Found => return Ok(Step::Settle),
            KeyCheck::Contradiction => return Ok(Step::Done(Plan::Again)),
        }
        if settlement.has_change() {
            return Ok(Step::Done(Plan::Commit(settlement)));
        }
        // Refusing a request with a key also decides an earlier attempt with that key, perhaps on another server. That must
        // not be committed afterwards. It could only be committed on this very version of the product, on which it was
        // allowed; so this concerns only refusals by the clock, which has moved on since.
        let refuses_a_key = (0..batch.requests.len()).any(|index| batch.has_key(index) && is_refused(index));
        if refuses_a_key && known.may_be_committed_late() {
            self.barrier().await?;
            known.close();
            return Ok(Step::Read(Basis::Unconfirmed));
        }
        let replayed = batch.read_replayed(store, &settlement).await?;
        Ok(Step::Done(Plan::Reply(batch.replies(&settlement, known, (&[], &[]), &replayed))))
    }

    /// Learns what is missing about the buyers of the batch, and forgets them where there are too many.
    async fn know_buyers(&mut self, known: &mut SaleView, batch: &Batch) -> Result<()> {
        let registry = self.registry.clone();
        let (store, limits) = (&registry.store, &registry.limits);
        let must_be_exact = known.state.is_held_or_changed() || !batch.changes_nothing();
        if known.is_behind() && (must_be_exact || batch.has_repeated || lasts(self.repeats_until)) {
            known.catch_up(store, limits, batch.requests.len()).await?;
        }
        let remembered = known.buyers.count();
        if self.remembered.note(remembered) > limits.buyers_max || remembered > limits.lane_buyers_max {
            known.forget();
        }
        known.learn(store, batch.users()).await
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
        batch.check_keys(&self.registry.store, &self.registry.used_keys, None, |_| true).await?;
        Ok(Plan::Reply(batch.replies_without_product()))
    }
}

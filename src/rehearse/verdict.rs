//! The verdict: every promise of a purchase, checked against what the database holds once the crowd is gone.

use std::collections::HashSet;

use futures_util::TryStreamExt;
use mongodb::bson::{DateTime, Document, doc};
use serde::{Deserialize, Serialize};

use super::RehearsalError;
use super::arguments::Arguments;
use super::load::Event;
use super::stage::Stage;
use super::wire::Kind;
use crate::model::id::Id;
use crate::model::product::Product;
use crate::store::schema::{PRODUCTS, PURCHASES};

/// How often a product is read until nobody changes it meanwhile; the crowd is gone, and so is whatever it was told nothing of.
const READS_MAX: usize = 5;

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Purchases in the database.
    pub purchases: u64,
    /// What is not as it was promised, one sentence each; empty when all is well.
    pub broken: Vec<String>,
}

/// The part of a purchase that promises are about.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    user_id: Id,
    sequence: i64,
    quantity: i64,
    purchased_at: DateTime,
}

/// Reads all products and purchases of the rehearsal back.
///
/// # Errors
/// The database does not answer.
pub async fn read(stage: &Stage, arguments: &Arguments, events: &[Event]) -> Result<Verdict, RehearsalError> {
    let mut verdict = Verdict::default();
    for product in stage.products() {
        read_product(stage, *product, &mut verdict)
            .await
            .map_err(|error| RehearsalError::not_held("the outcome cannot be read back", error))?;
    }
    verdict.judge_answers(arguments, events);
    Ok(verdict)
}

/// What the purchases of one product come to.
#[derive(Default)]
struct Found {
    count: i64,
    units: i64,
    /// Purchases that do not have the next number.
    gaps: i64,
    /// Purchases of somebody who has one already.
    repeated: i64,
    /// Purchases that are dated before the one that they follow.
    back: i64,
}

async fn read_product(stage: &Stage, id: Id, verdict: &mut Verdict) -> Result<(), mongodb::error::Error> {
    let products = stage.database().collection::<Product>(PRODUCTS);
    let product = || async { products.find_one(doc! { "_id": id }).await };
    let mut before = product().await?;
    // A commit that was in doubt may turn out to be one while the purchases are read; then the two do not belong together.
    for _ in 0..READS_MAX {
        let found = read_purchases(stage, id).await?;
        let after = product().await?;
        let Some(product) = &after else {
            verdict.broken.push(format!("product {id} is gone"));
            return Ok(());
        };
        if before.is_some_and(|before| before.version == product.version) {
            verdict.judge_product(product, &found);
            return Ok(());
        }
        before = after;
    }
    verdict.broken.push(format!("product {id} is still being sold"));
    Ok(())
}

async fn read_purchases(stage: &Stage, product: Id) -> Result<Found, mongodb::error::Error> {
    let purchases = stage.database().collection::<Document>(PURCHASES).clone_with_type::<Row>();
    let mut rows = purchases.find(doc! { "productId": product }).sort(doc! { "sequence": 1 }).await?;
    let mut users = HashSet::new();
    let (mut found, mut last) = (Found::default(), DateTime::MIN);
    while let Some(row) = rows.try_next().await? {
        found.count += 1;
        found.units += row.quantity;
        found.gaps += i64::from(row.sequence != found.count);
        found.repeated += i64::from(!users.insert(row.user_id));
        found.back += i64::from(row.purchased_at < last);
        last = row.purchased_at;
    }
    Ok(found)
}

impl Verdict {
    fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(otherwise());
        }
    }

    fn judge_product(&mut self, product: &Product, found: &Found) {
        let Found { count, units, gaps, repeated, back } = *found;
        self.purchases += u64::try_from(count).unwrap_or_default();
        let total = product.total_stock;
        self.expect(units <= total, || format!("oversold: {units} of {total} units"));
        self.expect(product.sold == units, || {
            format!("the product says {} sold, the purchases {units}", product.sold)
        });
        self.expect(product.stock + product.sold == total, || "stock and sold do not add up".into());
        self.expect(gaps == 0, || format!("{gaps} purchases are out of sequence"));
        self.expect(repeated == 0, || format!("{repeated} purchases pass their buyer's limit"));
        self.expect(back == 0, || format!("{back} purchases are earlier than the one before"));
    }

    /// Compares what the buyers were told with what is there.
    fn judge_answers(&mut self, arguments: &Arguments, events: &[Event]) {
        let count = |kind| events.iter().filter(|event| event.kind == kind).count() as u64;
        let (bought, purchases) = (count(Kind::Bought), self.purchases);
        // Without an answer, and after "outcome unknown", a purchase may have been made or not.
        let in_doubt =
            count(Kind::Unknown) + count(Kind::Broken) + count(Kind::Unexpected) + count(Kind::Replayed);
        self.expect(bought <= purchases, || {
            format!("{bought} were told that they bought, {purchases} purchases are there")
        });
        self.expect(purchases <= bought + in_doubt, || {
            format!("{purchases} purchases are there, only {bought} were told that they bought")
        });
        let definite = events.iter().any(|event| event.kind.is_definite());
        // The server has answered before the crowd came, and then nobody of it any more.
        self.expect(definite || events.is_empty(), || "nobody got a definite answer".into());
        let unexpected = count(Kind::Unexpected);
        self.expect(unexpected == 0, || format!("{unexpected} answers are none that the contract has"));
        let told_sold_out = count(Kind::SoldOut) > 0;
        let stock = u64::from(arguments.stock) * arguments.products as u64;
        let one_product = arguments.products == 1;
        self.expect(!(told_sold_out && one_product && purchases < stock), || {
            format!("buyers were told that it is sold out, with {purchases} of {stock} units sold")
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn check(purchases: u64, answers: &[Kind], broken: usize) {
        let arguments = CommandLine::parse_from(["rehearse", "--stock", "3"]).arguments;
        let event = |kind: &Kind| Event {
            at: Duration::ZERO,
            latency: Duration::ZERO,
            waited: Duration::ZERO,
            kind: *kind,
            status: 0,
        };
        let events: Vec<_> = answers.iter().map(event).collect();
        let mut verdict = Verdict { purchases, broken: Vec::new() };
        verdict.judge_answers(&arguments, &events);
        assert_eq!(verdict.broken.len(), broken, "{:?}", verdict.broken);
    }

    #[test]
    fn what_buyers_were_told_has_to_be_there() {
        check(2, &[Kind::Bought, Kind::Bought, Kind::LimitReached], 0);
        // Told, but not there; there, but not told.
        check(1, &[Kind::Bought, Kind::Bought], 1);
        check(3, &[Kind::Bought, Kind::Bought], 1);
        // In doubt is in doubt.
        check(3, &[Kind::Bought, Kind::Bought, Kind::Unknown], 0);
        check(3, &[Kind::Bought, Kind::Bought, Kind::Broken], 0);
        // Sold out before everything was sold; an answer that nobody promised.
        check(1, &[Kind::Bought, Kind::SoldOut], 1);
        check(1, &[Kind::Bought, Kind::Unexpected], 1);
        // A server that is not there any more keeps no promise; to a crowd that has not come, none was made.
        check(0, &[Kind::Broken, Kind::Broken], 1);
        check(0, &[], 0);
    }
}

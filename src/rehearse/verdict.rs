//! The verdict: checks every promise about purchases against the database once the crowd is gone.

use std::collections::HashSet;

use futures_util::TryStreamExt;
use mongodb::bson::{DateTime, Document, doc};
use serde::Serialize;

use super::RehearsalError;
use super::arguments::Arguments;
use super::expiry;
use super::load::Event;
use super::payment_books::{PaymentBooks, Row};
use super::report::Course;
use super::stage::Stage;
use super::wire::Kind;
use crate::model::id::Id;
use crate::model::product::Product;
use crate::model::purchase::PurchaseStatus;
use crate::store::schema::{PRODUCTS, PURCHASES};

/// How many times a product and its purchases are read until the product does not change meanwhile. The crowd is
/// gone, so only commits in doubt can still change it.
const READS_MAX: usize = 5;

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Purchases in the database.
    pub purchases: u64,
    /// Where they stand, if they have to be paid for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    /// The broken promises, one sentence each.
    pub broken: Vec<String>,
}

/// How many purchases have which status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    pub confirmed: u64,
    pub canceled: u64,
    pub expired: u64,
    /// Held, and not yet due.
    pub pending: u64,
    /// Money that came too late and has to go back.
    pub refund_due: u64,
}

/// Reads back all products and purchases of the rehearsal, and judges them.
///
/// # Errors
/// The database does not answer.
pub async fn read(stage: &Stage, arguments: &Arguments, course: &Course) -> Result<Verdict, RehearsalError> {
    let mut verdict = Verdict::default();
    // Before the purchases are read: what is due by now has to have expired in what is read.
    let mut books = match &course.payments {
        Some(payments) => Some(PaymentBooks::new(payments, expiry::now(stage).await?)),
        None => None,
    };
    for product in stage.products() {
        read_product(stage, *product, &mut books, &mut verdict)
            .await
            .map_err(|error| RehearsalError::not_held("the outcome cannot be read back", error))?;
    }
    if let Some(books) = books {
        let (standing, broken) = books.close();
        verdict.standing = Some(standing);
        verdict.broken.extend(broken);
    }
    verdict.judge_answers(arguments, &course.events);
    Ok(verdict)
}

/// A summary of the purchases of one product.
#[derive(Default)]
struct Found {
    count: i64,
    /// Units that are paid for, or need no payment.
    sold: i64,
    /// Units that wait for their payment.
    held: i64,
    /// Purchases whose number is not the next one.
    gaps: i64,
    /// Purchases that stand, by a buyer who already has one.
    repeated: i64,
    /// Purchases with an earlier time than the one before.
    back: i64,
}

async fn read_product(
    stage: &Stage,
    id: Id,
    books: &mut Option<PaymentBooks<'_>>,
    verdict: &mut Verdict,
) -> Result<(), mongodb::error::Error> {
    let products = stage.database().collection::<Product>(PRODUCTS);
    let product = || async { products.find_one(doc! { "_id": id }).await };
    let mut before = product().await?;
    // A commit in doubt may take effect while the purchases are read: then the product and its purchases do not match.
    for _ in 0..READS_MAX {
        let mut books_of_this = books.as_ref().map(PaymentBooks::of_one_product);
        let found = read_purchases(stage, id, &mut books_of_this).await?;
        let after = product().await?;
        let Some(product) = &after else {
            verdict.broken.push(format!("product {id} is gone"));
            return Ok(());
        };
        if before.is_some_and(|before| before.version == product.version) {
            verdict.judge_product(product, &found);
            books.iter_mut().zip(books_of_this).for_each(|(books, one)| books.add(one));
            return Ok(());
        }
        before = after;
    }
    verdict.broken.push(format!("product {id} is still being sold"));
    Ok(())
}

async fn read_purchases(
    stage: &Stage,
    product: Id,
    books: &mut Option<PaymentBooks<'_>>,
) -> Result<Found, mongodb::error::Error> {
    let purchases = stage.database().collection::<Document>(PURCHASES).clone_with_type::<Row>();
    let mut rows = purchases.find(doc! { "productId": product }).sort(doc! { "sequence": 1 }).await?;
    let mut users = HashSet::new();
    let (mut found, mut last) = (Found::default(), DateTime::MIN);
    while let Some(row) = rows.try_next().await? {
        found.count += 1;
        match row.status {
            PurchaseStatus::Pending => found.held += row.quantity,
            PurchaseStatus::Confirmed => found.sold += row.quantity,
            PurchaseStatus::Expired | PurchaseStatus::Canceled | PurchaseStatus::Refunded => {}
        }
        found.gaps += i64::from(row.sequence != found.count);
        found.repeated += i64::from(!row.status.is_released() && !users.insert(row.user_id));
        if let Some(books) = books {
            books.take(&row);
        }
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
        let Found { count, sold, held, gaps, repeated, back } = *found;
        self.purchases += u64::try_from(count).unwrap_or_default();
        let (total, units) = (product.total_stock, sold + held);
        self.expect(units <= total, || format!("oversold: {units} of {total} units"));
        self.expect(product.sold == sold, || {
            format!("the product counts {} units as sold, its purchases {sold}", product.sold)
        });
        self.expect(product.held == held, || {
            format!("the product counts {} units as held, its purchases {held}", product.held)
        });
        self.expect(product.stock + product.held + product.sold == total, || {
            "stock, held and sold do not add up".into()
        });
        self.expect(gaps == 0, || format!("{gaps} purchases are out of sequence"));
        self.expect(repeated == 0, || format!("{repeated} purchases exceed their buyer's limit"));
        self.expect(back == 0, || format!("{back} purchases are earlier than the one before"));
    }

    /// Compares the answers to the buyers with the purchases in the database.
    fn judge_answers(&mut self, arguments: &Arguments, events: &[Event]) {
        let count = |kind| events.iter().filter(|event| event.kind == kind).count() as u64;
        let (bought, purchases) = (count(Kind::Bought), self.purchases);
        // After one of these answers, or none, a purchase may exist or not.
        let in_doubt =
            count(Kind::Unknown) + count(Kind::Broken) + count(Kind::Unexpected) + count(Kind::Replayed);
        self.expect(bought <= purchases, || {
            format!("{bought} buyers were told that they bought, but only {purchases} purchases are in the database")
        });
        self.expect(purchases <= bought + in_doubt, || {
            format!("{purchases} purchases are in the database, but only {bought} buyers were told that they bought")
        });
        let definite = events.iter().any(|event| event.kind.is_definite());
        // The server answered the probe before the crowd came, so it must have answered somebody in the crowd.
        self.expect(definite || events.is_empty(), || "nobody got a definite answer".into());
        let unexpected = count(Kind::Unexpected);
        self.expect(unexpected == 0, || format!("{unexpected} answers are not in the contract"));
        let told_sold_out = count(Kind::SoldOut) > 0;
        let stock = u64::from(arguments.stock) * arguments.products as u64;
        let one_product = arguments.products == 1;
        self.expect(!(told_sold_out && one_product && purchases < stock), || {
            format!("buyers were told that the product is sold out, but only {purchases} of {stock} units are sold")
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
        let mut verdict = Verdict { purchases, ..Verdict::default() };
        verdict.judge_answers(&arguments, &events);
        assert_eq!(verdict.broken.len(), broken, "{:?}", verdict.broken);
    }

    #[test]
    fn answers_have_to_match_the_purchases() {
        check(2, &[Kind::Bought, Kind::Bought, Kind::LimitReached], 0);
        // A buyer was told of a purchase that does not exist; a purchase exists that nobody was told of.
        check(1, &[Kind::Bought, Kind::Bought], 1);
        check(3, &[Kind::Bought, Kind::Bought], 1);
        // Answers in doubt may or may not have a purchase.
        check(3, &[Kind::Bought, Kind::Bought, Kind::Unknown], 0);
        check(3, &[Kind::Bought, Kind::Bought, Kind::Broken], 0);
        // Sold out too early; an answer that is not in the contract.
        check(1, &[Kind::Bought, Kind::SoldOut], 1);
        check(1, &[Kind::Bought, Kind::Unexpected], 1);
        // Nobody gets an answer: a broken promise, unless nobody came.
        check(0, &[Kind::Broken, Kind::Broken], 1);
        check(0, &[], 0);
    }
}

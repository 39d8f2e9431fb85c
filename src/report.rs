//! The report of a sale: what was sold when, and to whom. It is computed when it is asked for, by a few queries that read all
//! purchases of the product, one report at a time.

use std::sync::Arc;
use std::time::Duration;

use mongodb::ClientSession;
use mongodb::bson::{DateTime, RawDocumentBuf, doc};
use mongodb::error::Error as DatabaseError;
use tokio::sync::Semaphore;

use crate::config::RecordsLimits;
use crate::error::{Error, Result};
use crate::metrics::Limit;
use crate::model::id::Id;
use crate::model::money::Money;
use crate::model::product::Product;
use crate::model::purchase::PurchaseStatus;
use crate::model::timestamp::Timestamp;
use crate::store::heartbeat::Heartbeat;
use crate::store::{Store, failure};

use accounts::Accounts;
use view::{NetworkView, OutcomeView, PointView, ReportView, UnitsView};

mod accounts;
pub(crate) mod view;

/// What is sold this soon after the start is counted, in milliseconds.
const EARLY_MS: [i64; 2] = [100, 1_000];

type Outcome<T> = std::result::Result<T, DatabaseError>;

/// Makes reports.
#[derive(Clone)]
pub struct Reports {
    store: Store,
    heartbeat: Heartbeat,
    permits: Arc<Semaphore>,
    limits: RecordsLimits,
}

impl Reports {
    pub fn new(store: Store, heartbeat: Heartbeat, limits: &RecordsLimits) -> Self {
        let permits = Arc::new(Semaphore::new(limits.reports_in_flight_max));
        Self { store, heartbeat, permits, limits: *limits }
    }

    /// The report of one product.
    ///
    /// # Errors
    /// `product_not_found`; `overloaded` while another report is made, or when the database takes too long;
    /// `database_unavailable`.
    pub async fn of(&self, product: Id) -> Result<ReportView> {
        let permit = self.permits.clone().try_acquire_owned();
        let permit = permit.map_err(|_| {
            self.store.metrics.limits_hit.count(Limit::Reports);
            Error::Overloaded { detail: "Another report is being made." }
        })?;
        let point = self.store.confirm().await?;
        let reports = self.clone();
        // In a task of its own: the database goes on with a query whose client has gone, and the next report has to wait for it.
        let task = self.store.spawn(async move {
            let session = point.session(&reports.store.client).await;
            let report = match session {
                Ok(mut session) => reports.make(&mut session, product).await,
                Err(error) => Err(error),
            };
            drop(permit);
            report
        });
        let report = task.await.map_err(|panic| {
            tracing::error!("a report panicked: {panic}");
            Error::Internal
        })?;
        match report {
            Ok(report) => report.ok_or(Error::ProductNotFound),
            Err(error) if failure::is_held(&error) => {
                tracing::warn!("the report of product {product} took too long");
                Err(Error::Overloaded { detail: "The database takes too long for this report." })
            }
            Err(error) => Err(failure::of_read(&error)),
        }
    }

    async fn make(&self, session: &mut ClientSession, id: Id) -> Outcome<Option<ReportView>> {
        let find = self.store.products.find_one(doc! { "_id": id });
        let Some(product) = find.session(&mut *session).await? else { return Ok(None) };
        let first = self.purchase_at_end(session, id, 1).await?;
        let last = self.purchase_at_end(session, id, -1).await?;
        let mut report = ReportView {
            product_id: id.to_hex(),
            at: self.heartbeat.database_time(),
            sale_start_time: product.sale_start_time.into(),
            first_purchase_at: first.map(Timestamp::from),
            last_purchase_at: last.map(Timestamp::from),
            time_to_sell_out_ms: last
                .filter(|_| product.stock == 0)
                .map(|last| last.timestamp_millis() - product.sale_start_time.timestamp_millis()),
            ..ReportView::default()
        };
        if let Some((first, last)) = first.zip(last) {
            self.count(session, &product, (first, last), &mut report).await?;
            self.count_networks(session, id, &mut report).await?;
            self.count_accounts(session, id, &mut report).await?;
        }
        Ok(Some(report))
    }

    /// When the first (1) or the last (-1) purchase was made.
    async fn purchase_at_end(
        &self,
        session: &mut ClientSession,
        id: Id,
        end: i32,
    ) -> Outcome<Option<DateTime>> {
        let purchases = self.store.purchases.clone_with_type::<RawDocumentBuf>();
        let find = purchases.find_one(doc! { "productId": id }).sort(doc! { "sequence": end });
        let found = find.projection(doc! { "purchasedAt": 1 }).session(session).await?;
        Ok(found.and_then(|purchase| purchase.get_datetime("purchasedAt").ok()))
    }

    /// Counts purchases and units by their time and status.
    async fn count(
        &self,
        session: &mut ClientSession,
        product: &Product,
        (first, last): (DateTime, DateTime),
        report: &mut ReportView,
    ) -> Outcome<()> {
        let begin_ms = first.timestamp_millis().div_euclid(1_000) * 1_000;
        let seconds = (last.timestamp_millis() - begin_ms) / 1_000 + 1;
        let width_seconds = seconds.div_euclid(self.limits.report_points_max) + 1;
        let width_ms = width_seconds * 1_000;
        let since = doc! { "$subtract": ["$purchasedAt", DateTime::from_millis(begin_ms)] };
        let start_ms = product.sale_start_time.timestamp_millis();
        let mut group = doc! {
            "_id": {
                "point": { "$floor": { "$divide": [since, width_ms] } },
                "status": { "$ifNull": ["$status", PurchaseStatus::Confirmed.name()] },
                "currency": "$unitPrice.currency",
            },
            "amount": { "$sum": { "$multiply": ["$unitPrice.amount", "$quantity"] } },
            "purchases": { "$sum": 1_i64 },
            "units": { "$sum": "$quantity" },
        };
        for within_ms in EARLY_MS {
            let is_early = doc! { "$and": [
                { "$gte": ["$purchasedAt", product.sale_start_time] },
                { "$lt": ["$purchasedAt", DateTime::from_millis(start_ms + within_ms)] },
            ] };
            let sum = |of: mongodb::bson::Bson| doc! { "$sum": { "$cond": [&is_early, of, 0_i64] } };
            group.insert(format!("purchases{within_ms}"), sum(1_i64.into()));
            group.insert(format!("units{within_ms}"), sum("$quantity".into()));
        }
        let stages = vec![
            doc! { "$match": { "productId": product.id } },
            doc! { "$group": group },
            doc! { "$sort": { "_id.point": 1, "_id.status": 1, "_id.currency": 1 } },
        ];
        report.seconds_per_point = width_seconds;
        let mut early = EARLY_MS.map(|within_ms| UnitsView { within_ms, ..UnitsView::default() });
        self.each(session, stages, |group| {
            let number = |name: &str| group.get_i64(name).unwrap_or_default();
            let (purchases, units) = (number("purchases"), number("units"));
            for early in &mut early {
                early.purchases += number(&format!("purchases{}", early.within_ms));
                early.units += number(&format!("units{}", early.within_ms));
            }
            let Ok(key) = group.get_document("_id") else { return };
            let status = key.get_str("status").unwrap_or(PurchaseStatus::Confirmed.name());
            let total = Money {
                // A sum that is too large for a whole number comes as a double.
                amount: group
                    .get_i64("amount")
                    .or(group.get_f64("amount").map(|sum| sum as i64))
                    .unwrap_or_default(),
                currency: key.get_str("currency").unwrap_or_default().to_owned(),
            };
            match report.outcomes.iter_mut().find(|outcome| outcome.status == status) {
                Some(outcome) => {
                    outcome.purchases += purchases;
                    outcome.units += units;
                    outcome.add(total);
                }
                None => {
                    let totals = vec![total];
                    report.outcomes.push(OutcomeView { status: status.to_owned(), purchases, units, totals });
                }
            }
            // A whole number, but MongoDB divides to a double.
            let point = key.get_f64("point").unwrap_or_default() as i64;
            let at = Timestamp::from_milliseconds(begin_ms + point * width_ms);
            match report.curve.last_mut().filter(|last| last.at == at) {
                Some(last) => {
                    last.purchases += purchases;
                    last.units += units;
                }
                None => report.curve.push(PointView { at, purchases, units }),
            }
        })
        .await?;
        report.early = early.into();
        Ok(())
    }

    /// Counts the buyers of each network.
    async fn count_networks(
        &self,
        session: &mut ClientSession,
        id: Id,
        report: &mut ReportView,
    ) -> Outcome<()> {
        let rows_max = i64::try_from(self.limits.report_rows_max).unwrap_or(i64::MAX);
        let stages = vec![
            doc! { "$match": { "productId": id } },
            doc! { "$group": {
                "_id": { "network": "$network", "user": "$userId" },
                "purchases": { "$sum": 1_i64 }, "units": { "$sum": "$quantity" },
            } },
            doc! { "$group": {
                "_id": "$_id.network", "buyers": { "$sum": 1_i64 },
                "purchases": { "$sum": "$purchases" }, "units": { "$sum": "$units" },
            } },
            // Those without a network first, so that the bound does not cut them off.
            doc! { "$set": { "isKnown": { "$gt": ["$_id", null] } } },
            doc! { "$sort": { "isKnown": 1, "buyers": -1, "units": -1, "_id": 1 } },
            doc! { "$limit": rows_max + 1 },
        ];
        let rows_max = self.limits.report_rows_max;
        self.each(session, stages, |row| {
            let number = |name: &str| row.get_i64(name).unwrap_or_default();
            match row.get_str("_id") {
                Ok(network) if report.networks.len() < rows_max => report.networks.push(NetworkView {
                    network: network.to_owned(),
                    buyers: number("buyers"),
                    purchases: number("purchases"),
                    units: number("units"),
                }),
                Ok(_) => {}
                Err(_) => report.purchases_without_network += number("purchases"),
            }
        })
        .await
    }

    /// Looks up the accounts of the first buyers.
    async fn count_accounts(
        &self,
        session: &mut ClientSession,
        id: Id,
        report: &mut ReportView,
    ) -> Outcome<()> {
        let users = crate::store::schema::USERS;
        let account = vec![doc! { "$project": { "createdAt": 1, "email": 1 } }];
        let stages = vec![
            doc! { "$match": { "productId": id } },
            doc! { "$sort": { "sequence": 1 } },
            doc! { "$limit": self.limits.report_accounts_purchases_max },
            doc! { "$lookup": {
                "from": users, "localField": "userId", "foreignField": "_id", "pipeline": account, "as": "account",
            } },
            doc! { "$project": {
                "_id": 0, "userId": 1, "purchasedAt": 1,
                "createdAt": { "$first": "$account.createdAt" }, "email": { "$first": "$account.email" },
            } },
        ];
        let mut accounts = Accounts::default();
        self.each(session, stages, |purchase| accounts.take(purchase)).await?;
        report.accounts = accounts.view(self.limits.report_rows_max);
        Ok(())
    }

    /// Runs an aggregation over purchases and hands over what it finds, one by one.
    async fn each(
        &self,
        session: &mut ClientSession,
        stages: Vec<mongodb::bson::Document>,
        mut take: impl FnMut(&RawDocumentBuf),
    ) -> Outcome<()> {
        let aggregate = self.store.purchases.aggregate(stages).with_type::<RawDocumentBuf>();
        let aggregate =
            aggregate.allow_disk_use(true).max_time(Duration::from_millis(self.limits.report_ms_max));
        let mut found = aggregate.session(&mut *session).await?;
        while let Some(document) = found.next(&mut *session).await.transpose()? {
            take(&document);
        }
        Ok(())
    }
}

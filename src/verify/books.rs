//! The books: the database, read at one snapshot as long as MongoDB keeps it.

use std::time::Duration;

use futures_util::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use mongodb::bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, FindOptions, Hint, ReadConcern};
use mongodb::{Client, ClientSession, Database, SessionCursor};

use super::VerifyError;
use super::findings::Findings;
use crate::config::{Config, DATABASE_NAME_DEFAULT, Database as Place, Secret};
use crate::embedded::{self, EmbeddedMongo};
use crate::model::id::Id;
use crate::store::schema::{AUDIT, PRODUCTS, PURCHASES, keyed_purchases, own_purchases, purchases_in_order};
use crate::store::{failure, hang_up};

/// How long the database may take to be found.
const DATABASE_SECONDS_MAX: u64 = 5;
/// Documents that the database sends at once: some hundred bytes each.
const BATCH_DOCUMENTS: u32 = 5_000;
/// So many purchases of one product the database reads and sorts well within the life of a snapshot: in 20 s, if it reads 25,000 a
/// second, as it does from a disk of which its cache holds a fifth.
const SORTED_PURCHASES_MAX: u64 = 500_000;
/// The snapshot is gone: `SnapshotTooOld`, `NoSuchTransaction`, `TransactionExceededLifetimeLimitSeconds`.
const TOO_OLD: [i32; 3] = [239, 251, 290];

/// The database, and the snapshot at which it is read.
pub struct Books {
    database: Database,
    session: ClientSession,
    mongo: Option<EmbeddedMongo>,
    /// Whether an index gives the purchases in the order of their buyers.
    has_buyers_index: bool,
    /// Whether only one product is read, with so few purchases that the database can sort them by their buyers.
    are_few: bool,
    pub progress: ProgressBar,
}

impl Books {
    /// Finds the database of the settings. An embedded MongoDB that does not run is started for this.
    ///
    /// # Errors
    /// Why it cannot be reached.
    pub async fn open(config: &Config) -> Result<Self, VerifyError> {
        let (uri, mongo) = place(&config.database).await?;
        match connect(&uri).await {
            Ok((database, session)) => Ok(Self {
                database,
                session,
                mongo,
                has_buyers_index: false,
                are_few: false,
                progress: ProgressBar::hidden(),
            }),
            Err(error) => {
                if let Some(mongo) = mongo {
                    mongo.stop().await;
                }
                Err(VerifyError::not_read("the database cannot be reached", error))
            }
        }
    }

    /// Disconnects, and stops what was started.
    pub async fn close(mut self) {
        let _ = self.session.abort_transaction().await;
        self.progress.finish_and_clear();
        hang_up(self.database.client()).await;
        if let Some(mongo) = self.mongo {
            mongo.stop().await;
        }
    }

    /// Reads at the newest snapshot from now on.
    ///
    /// # Errors
    /// The driver's.
    pub async fn renew(&mut self) -> Result<(), Error> {
        // It is over already, or says nothing of interest.
        let _ = self.session.abort_transaction().await;
        begin(&mut self.session).await
    }

    /// Shows how far the reading is: each purchase is read twice.
    ///
    /// # Errors
    /// The driver's.
    pub async fn expect(&mut self, product: Option<Id>) -> Result<(), Error> {
        let purchases = self.database.collection::<Document>(PURCHASES);
        let count = match product {
            None => purchases.estimated_document_count().await?,
            Some(product) => purchases.count_documents(doc! { "productId": product }).await?,
        };
        self.are_few = product.is_some() && count <= SORTED_PURCHASES_MAX;
        // Drawn on standard error, and only if that is a terminal.
        self.progress = ProgressBar::new(count * 2);
        let style = "{percent}% of the books are read, {per_sec}, about {eta} to go";
        self.progress.set_style(ProgressStyle::with_template(style).unwrap_or(ProgressStyle::default_bar()));
        Ok(())
    }

    /// The ids of all products, or of this one if it exists.
    ///
    /// # Errors
    /// The driver's.
    pub async fn products(&mut self, product: Option<Id>) -> Result<Vec<Id>, Error> {
        let query = product.map_or(doc! {}, |id| doc! { "_id": id });
        let options = FindOptions::builder().projection(doc! { "_id": 1 }).sort(doc! { "_id": 1 }).build();
        let mut found = self.find(PRODUCTS, query, options).await?;
        let mut ids = Vec::new();
        while let Some(product) = self.next(&mut found).await? {
            ids.extend(product.get_object_id("_id"));
        }
        Ok(ids)
    }

    /// A product's document.
    ///
    /// # Errors
    /// The driver's.
    pub async fn product(&mut self, id: Id) -> Result<Option<Document>, Error> {
        let products = self.database.collection::<Document>(PRODUCTS);
        products.find_one(doc! { "_id": id }).session(&mut self.session).await
    }

    /// A product's entries in the audit log, in the order of time.
    ///
    /// # Errors
    /// The driver's.
    pub async fn audit(&mut self, product: Id) -> Result<SessionCursor<RawDocumentBuf>, Error> {
        let options = FindOptions::builder()
            .projection(doc! { "at": 1, "action": 1, "before": 1, "after": 1 })
            .sort(doc! { "at": 1, "_id": 1 })
            .build();
        self.find(AUDIT, doc! { "target": product }, options).await
    }

    /// The entries in the audit log about these purchases, in no order.
    ///
    /// # Errors
    /// The driver's.
    pub async fn audit_of_purchases(
        &mut self,
        purchases: Vec<Id>,
    ) -> Result<SessionCursor<RawDocumentBuf>, Error> {
        let projection = doc! {
            "_id": 0, "target": 1, "action": 1, "before.status": 1, "after.status": 1, "after.restock": 1,
        };
        let options = FindOptions::builder().projection(projection).build();
        self.find(AUDIT, doc! { "target": { "$in": purchases } }, options).await
    }

    /// A product's purchases in their order: those after one sequence number, up to another one.
    ///
    /// # Errors
    /// The driver's.
    pub async fn purchases(
        &mut self,
        product: Id,
        (after, until): (Option<i64>, Option<i64>),
    ) -> Result<SessionCursor<RawDocumentBuf>, Error> {
        let mut query = doc! { "productId": product };
        let after = after.map(|after| doc! { "$gt": after });
        let until = until.map(|until| doc! { "$lte": until });
        let bounds: Document = after.into_iter().chain(until).flatten().collect();
        if !bounds.is_empty() {
            query.insert("sequence", bounds);
        }
        let options = FindOptions::builder()
            .projection(doc! {
                "sequence": 1, "quantity": 1, "purchasedAt": 1, "status": 1, "expiresAt": 1, "refundDue": 1,
                "changedInVersion": 1,
            })
            .sort(doc! { "sequence": 1 })
            .hint(Hint::Keys(purchases_in_order()))
            .build();
        self.find(PURCHASES, query, options).await
    }

    /// The purchases of all buyers, or of a product's, by buyer, product and unit; from this buyer and product on.
    ///
    /// # Errors
    /// The driver's.
    pub async fn purchases_by_buyer(
        &mut self,
        product: Option<Id>,
        from: Option<(Id, Id)>,
    ) -> Result<SessionCursor<RawDocumentBuf>, Error> {
        // Few of one product are sorted: the index of buyers has those of all products, and each of their buyers takes a look.
        let index = match self.are_few {
            true => Some(purchases_in_order()),
            false => self.has_buyers_index.then(own_purchases),
        };
        // `min` goes on within a buyer, but takes no other bounds from the query.
        let is_walk = product.is_none() && self.has_buyers_index;
        let mut query = doc! {};
        if let Some((user, _)) = from.filter(|_| !is_walk) {
            query.insert("userId", doc! { "$gte": user });
        }
        if let Some(product) = product {
            query.insert("productId", product);
        }
        let options = FindOptions::builder()
            .projection(
                doc! { "_id": 0, "userId": 1, "productId": 1, "firstUnit": 1, "quantity": 1, "status": 1 },
            )
            .sort(own_purchases())
            .hint(index.map(Hint::Keys))
            .min(from.filter(|_| is_walk).map(|(user, product)| {
                doc! { "userId": user, "productId": product, "firstUnit": Bson::MinKey }
            }))
            .allow_disk_use(true)
            .build();
        self.find(PURCHASES, query, options).await
    }

    /// The next document of what was found.
    ///
    /// # Errors
    /// The driver's.
    pub async fn next(
        &mut self,
        found: &mut SessionCursor<RawDocumentBuf>,
    ) -> Result<Option<RawDocumentBuf>, Error> {
        found.next(&mut self.session).await.transpose()
    }

    /// Looks for the two unique indexes of purchases. While they are there, no unit and no key can be there twice; without the
    /// second one the keys are compared.
    ///
    /// # Errors
    /// The driver's.
    pub async fn check_indexes(&mut self, findings: &mut Findings) -> Result<(), Error> {
        let purchases = self.database.collection::<Document>(PURCHASES);
        let indexes: Vec<_> = purchases.list_indexes().await?.try_collect().await?;
        let has = |keys: &Document, unique: bool| {
            let is_unique = |options: &mongodb::options::IndexOptions| options.unique == Some(true);
            indexes.iter().any(|index| {
                index.keys.iter().map(|(name, _)| name).eq(keys.keys())
                    && (!unique || index.options.as_ref().is_some_and(is_unique))
            })
        };
        self.has_buyers_index = has(&own_purchases(), false);
        if !has(&own_purchases(), true) {
            findings.wrong("purchases have no unique index on userId, productId, firstUnit: start a server, which creates it");
        }
        if !has(&keyed_purchases(), true) {
            findings.wrong(
                "purchases have no unique index on userId, idempotencyKey: start a server, which creates it",
            );
            self.check_keys(findings).await?;
        }
        Ok(())
    }

    /// Compares the keys of all purchases.
    async fn check_keys(&mut self, findings: &mut Findings) -> Result<(), Error> {
        let options = FindOptions::builder()
            .projection(doc! { "_id": 1, "userId": 1, "idempotencyKey": 1 })
            .sort(keyed_purchases())
            .allow_disk_use(true)
            .build();
        let with_key = doc! { "idempotencyKey": { "$exists": true } };
        let mut found = self.find(PURCHASES, with_key, options).await?;
        let mut last: Option<RawDocumentBuf> = None;
        while let Some(purchase) = self.next(&mut found).await? {
            let is_same =
                |name: &str| last.as_ref().is_some_and(|last| last.get(name).ok() == purchase.get(name).ok());
            if is_same("userId") && is_same("idempotencyKey") {
                findings.wrong(format!(
                    "purchase {}: its buyer has another one with the same key",
                    id(&purchase)
                ));
            }
            last = Some(purchase);
        }
        Ok(())
    }

    async fn find(
        &mut self,
        collection: &str,
        query: Document,
        mut options: FindOptions,
    ) -> Result<SessionCursor<RawDocumentBuf>, Error> {
        options.batch_size = Some(BATCH_DOCUMENTS);
        let collection = self.database.collection::<RawDocumentBuf>(collection);
        collection.find(query).with_options(options).session(&mut self.session).await
    }
}

/// Begins a transaction that only reads.
async fn begin(session: &mut ClientSession) -> Result<(), Error> {
    session.start_transaction().read_concern(ReadConcern::snapshot()).await
}

/// Whether the snapshot is older than what MongoDB keeps.
pub fn is_too_old(error: &Error) -> bool {
    let is_named = matches!(error.kind.as_ref(), ErrorKind::Command(error) if TOO_OLD.contains(&error.code));
    is_named || (failure::is_transient(error) && !failure::is_unavailable(error))
}

/// A whole number, of whichever type a script may have written it.
pub fn number(document: &RawDocument, name: &str) -> Option<i64> {
    use mongodb::bson::RawBsonRef::{Double, Int32, Int64};
    match document.get(name).ok()?? {
        Int32(number) => Some(number.into()),
        Int64(number) => Some(number),
        Double(number) => crate::model::number::whole(number),
        _ => None,
    }
}

fn id(purchase: &RawDocument) -> String {
    purchase.get_object_id("_id").map_or_else(|_| "without an id".into(), Id::to_hex)
}

async fn place(place: &Place) -> Result<(Secret, Option<EmbeddedMongo>), VerifyError> {
    match place {
        Place::External { uri, .. } => Ok((uri.clone(), None)),
        Place::Embedded { data_directory, .. } => {
            if !data_directory.exists() {
                let directory = data_directory.display();
                return Err(VerifyError::NotRead(format!(
                    "there is no data in {directory}; are these the server's settings (DATA_DIR, MONGO_URI)?"
                )));
            }
            embedded::start_or_join(data_directory).await.map_err(VerifyError::NotRead)
        }
    }
}

async fn connect(uri: &Secret) -> Result<(Database, ClientSession), Error> {
    let mut options = ClientOptions::parse(uri.reveal()).await?;
    options.app_name.get_or_insert_with(|| "flash-sale verify".into());
    options.server_selection_timeout = Some(Duration::from_secs(DATABASE_SECONDS_MAX));
    let name = options.default_database.clone().unwrap_or_else(|| DATABASE_NAME_DEFAULT.into());
    let client = Client::with_options(options)?;
    let database = client.database(&name);
    database.run_command(doc! { "ping": 1 }).await?;
    let mut session = client.start_session().await?;
    begin(&mut session).await?;
    Ok((database, session))
}

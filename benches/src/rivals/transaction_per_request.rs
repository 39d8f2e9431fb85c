//! `transaction-per-request`: the usual design for a correct sale. Every request is one MongoDB transaction, which is
//! run again, after a pause, when it collides with another.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRef, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use flash_sale::accounts::current_user::CurrentUser;
use flash_sale::error::Error;
use flash_sale::model::id::Id;
use flash_sale::store::connect::durable;
use futures_util::TryStreamExt;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::error::{
    Result as DatabaseResult, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT,
};
use mongodb::options::{ClientOptions, ReadConcern, ReturnDocument};
use mongodb::{Client, ClientSession, Collection, IndexModel};
use rand::RngExt as _;
use tokio::time::Instant;

use super::{Buyer, Common, PurchaseRequest, Refusal, Sale, UNIT_PRICE, Verifier, bought, complain, serve};
use crate::Outcome;

/// How long one request is tried, in seconds.
const TRY_SECONDS_MAX: u64 = 5;
/// The longest pause between two tries; it starts at one millisecond and doubles.
const PAUSE_MS_MAX: u64 = 128;
/// As many connections to the database as the product has.
const CONNECTIONS_MAX: u32 = 64;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    sale: Sale,
    /// The database, a replica set
    #[arg(long)]
    mongo_uri: String,
}

struct Server {
    verifier: Verifier,
    client: Client,
    products: Collection<Document>,
    orders: Collection<Document>,
}

impl FromRef<Arc<Server>> for Verifier {
    fn from_ref(server: &Arc<Server>) -> Self {
        server.verifier.clone()
    }
}

pub async fn run(arguments: Arguments) -> Outcome {
    let Arguments { common, sale, mongo_uri } = arguments;
    let mut options = ClientOptions::parse(&mongo_uri).await?;
    options.max_pool_size = Some(CONNECTIONS_MAX);
    options.write_concern = Some(durable());
    let name = options.default_database.clone().unwrap_or_else(|| "rival".into());
    let client = Client::with_options(options)?;
    let database = client.database(&name);
    let (products, orders) = (database.collection("products"), database.collection("orders"));
    let by_buyer = IndexModel::builder().keys(doc! { "productId": 1, "userId": 1 }).build();
    orders.create_index(by_buyer).await?;
    let (start_ms, end_ms) = sale.window_ms();
    products
        .insert_one(doc! {
            "_id": sale.product, "stock": sale.stock, "sold": 0_i64, "count": 0_i64, "limit": sale.limit,
            "start": DateTime::from_millis(start_ms), "end": DateTime::from_millis(end_ms),
        })
        .await?;
    client.warm_connection_pool().await;
    let server = Server { verifier: common.verifier(), client, products, orders };
    let router = Router::new().route("/products/purchase", post(purchase)).with_state(Arc::new(server));
    serve(common.port, router).await
}

async fn purchase(
    State(server): State<Arc<Server>>,
    Buyer(buyer): Buyer,
    Json(request): Json<PurchaseRequest>,
) -> Response {
    // In a task of its own: the driver's futures must not be dropped half-way when a client hangs up.
    match tokio::spawn(async move { server.sell(&buyer, &request).await }).await {
        Ok(response) => response,
        Err(error) => complain(&error).into_response(),
    }
}

impl Server {
    async fn sell(&self, buyer: &CurrentUser, request: &PurchaseRequest) -> Response {
        let deadline = Instant::now() + Duration::from_secs(TRY_SECONDS_MAX);
        let mut pause_ms = 1;
        loop {
            match self.attempt(buyer, request).await {
                Ok(Ok(response)) => return response,
                Ok(Err(refusal)) => return refusal.into_response(),
                Err(error) if error.contains_label(TRANSIENT_TRANSACTION_ERROR) => {}
                Err(error) => return complain(&error).into_response(),
            }
            let pause = Duration::from_millis(rand::rng().random_range(0..=pause_ms));
            pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
            if Instant::now() + pause >= deadline {
                return Refusal(Error::Overloaded { detail: "Too many purchases collide." }).into_response();
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(
        &self,
        buyer: &CurrentUser,
        request: &PurchaseRequest,
    ) -> DatabaseResult<Result<Response, Refusal>> {
        let mut session = self.client.start_session().await?;
        session.start_transaction().read_concern(ReadConcern::snapshot()).write_concern(durable()).await?;
        match self.transact(&mut session, buyer, request).await {
            Ok(Ok(response)) => {
                // When a commit gets no answer, sending it again reveals its outcome.
                while let Err(error) = session.commit_transaction().await {
                    if !error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) {
                        return Err(error);
                    }
                }
                Ok(Ok(response))
            }
            undone => {
                // After an error the database may already have ended the transaction.
                drop(session.abort_transaction().await);
                undone
            }
        }
    }

    async fn transact(
        &self,
        session: &mut ClientSession,
        buyer: &CurrentUser,
        request: &PurchaseRequest,
    ) -> DatabaseResult<Result<Response, Refusal>> {
        let product_id = request.product_id;
        let earlier = doc! { "productId": product_id, "userId": buyer.id };
        let mut orders = self.orders.find(earlier).session(&mut *session).await?;
        let orders: Vec<Document> = orders.stream(session).try_collect().await?;
        let purchased: i64 = orders.iter().filter_map(|order| order.get_i64("quantity").ok()).sum();
        let open = doc! {
            "_id": product_id,
            "stock": { "$gte": request.quantity },
            "limit": { "$gte": purchased + request.quantity },
            "$expr": { "$and": [{ "$lte": ["$start", "$$NOW"] }, { "$gt": ["$end", "$$NOW"] }] },
        };
        let change = doc! {
            "$inc": { "stock": -request.quantity, "sold": request.quantity, "count": 1_i64 },
            "$currentDate": { "updatedAt": true },
        };
        let product = self
            .products
            .find_one_and_update(open, change)
            .return_document(ReturnDocument::After)
            .session(&mut *session)
            .await?;
        let Some(product) = product else {
            return self.refusal(session, request, purchased).await.map(Err);
        };
        let id = Id::new();
        let at = product.get_datetime("updatedAt").copied().unwrap_or_else(|_| DateTime::now());
        let order = doc! {
            "_id": id, "productId": product_id, "userId": buyer.id, "buyer": &buyer.name,
            "quantity": request.quantity, "unitPrice": { "amount": UNIT_PRICE, "currency": "USD" },
            "purchasedAt": at,
        };
        self.orders.insert_one(order).session(session).await?;
        let sequence = product.get_i64("count").unwrap_or_default();
        Ok(Ok(bought(id, buyer, request, sequence, at.into())))
    }

    /// The reason why nothing was sold.
    async fn refusal(
        &self,
        session: &mut ClientSession,
        request: &PurchaseRequest,
        purchased: i64,
    ) -> DatabaseResult<Refusal> {
        let product = self.products.find_one(doc! { "_id": request.product_id }).session(session).await?;
        let Some(product) = product else { return Ok(Refusal(Error::ProductNotFound)) };
        let number = |name| product.get_i64(name).unwrap_or_default();
        let (limit, remaining) = (number("limit"), number("stock"));
        Ok(Refusal(match remaining {
            _ if purchased + request.quantity > limit => Error::PurchaseLimitReached { limit, purchased },
            0 => Error::SoldOut,
            _ => Error::InsufficientStock { remaining },
        }))
    }
}

//! `/leaderboard`: who bought, in chronological order.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::{App, AppState};
use crate::error::Result;
use crate::http::page::{Page, PageRequest, Query};
use crate::http::rendered::Rendered;
use crate::id::Id;
use crate::products::cache::ProductCache;
use crate::purchases::model::Purchase;
use crate::purchases::service::{self, Order, PurchaseCursor, Selection};
use crate::store::crowd_read::Reading;
use crate::timestamp::Timestamp;

/// MongoDB ends a transaction after a minute; as long again for clocks that differ.
const TRANSACTION_MS_MAX: i64 = 120_000;

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(leaderboard))
}

/// One purchase as everybody may see it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaderboardItem {
    /// The place in this list, from 1.
    #[schema(minimum = 1, example = 17)]
    pub rank: i64,
    /// The number among the product's purchases, from 1.
    #[schema(minimum = 1, example = 17)]
    pub sequence: i64,
    /// What was bought.
    #[schema(example = "65f1c0ffee65f1c0ffee65f1")]
    pub product_id: String,
    /// Its name.
    #[schema(example = "Limited sneaker")]
    pub product_name: String,
    /// The buyer's first name and an initial.
    #[schema(example = "Ada L.")]
    pub buyer: String,
    /// Units.
    #[schema(minimum = 1, maximum = 1000, example = 1)]
    pub quantity: i64,
    /// When.
    pub purchased_at: Timestamp,
}

impl LeaderboardItem {
    /// The purchase, which is the `rank`-th, of the product of this name.
    pub fn of(purchase: Purchase, rank: i64, product_name: String) -> Self {
        Self {
            rank,
            sequence: purchase.sequence,
            product_id: purchase.product_id.to_hex(),
            product_name,
            buyer: purchase.buyer,
            quantity: purchase.quantity,
            purchased_at: purchase.purchased_at.into(),
        }
    }
}

/// Who bought, oldest purchase first
#[utoipa::path(
    get, path = "/leaderboard", tag = "leaderboard", operation_id = "leaderboard",
    params(
        ("productId" = Option<String>, Query, description = "Only purchases of this product", example = "65f1c0ffee65f1c0ffee65f1"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "Items on the page: 1 to 200, 50 without it", example = 50),
        ("cursor" = Option<String>, Query, min_length = 1, max_length = 500, description = "The `nextCursor` of the page before"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the page that you have"),
    ),
    responses(
        (status = OK, description = "A page of the leaderboard", body = Page<LeaderboardItem>, headers(("ETag" = String, description = "For If-None-Match"))),
        (status = NOT_MODIFIED, description = "The page is the one that you have"),
    ),
    extensions(("x-problem-codes" = json!(["overloaded", "database_unavailable"]))),
)]
async fn leaderboard(State(app): State<AppState>, headers: HeaderMap, mut query: Query) -> Result<Response> {
    let product = query.parameter("productId", |value| {
        value.parse().map_err(|_| "must be an id of 24 hexadecimal digits".into())
    });
    let page = query.page(|cursor: &PurchaseCursor| cursor.rank > 0 && cursor.list == product);
    query.finish()?;
    let remembered = |reading: &Reading<PageBasis>| {
        let holds = app.feed().is_live() && reading.basis.holds(app.catalogue().cache());
        holds.then(|| reading.answer.clone())
    };
    let read = {
        let app = app.clone();
        move |(product, page): (Option<Id>, PageRequest<PurchaseCursor>)| {
            let app = app.clone();
            async move {
                let structure = app.catalogue().cache().structure();
                let now = app.pulse().database_time();
                let page = read_page(&app, product, &page).await?;
                Ok(Reading {
                    answer: Rendered::digested(&page)?,
                    basis: PageBasis::of(&page, product, structure, now),
                })
            }
        }
    };
    Ok(app.leaderboard_reads().get((product, page), remembered, read).await?.answer(&headers))
}

/// What a page of the leaderboard stands on.
pub struct PageBasis {
    /// A full page of a product stays as it is: purchases are never changed, and new ones come after it. Of all products,
    /// only a page of the past does: transactions are not committed in the order of their purchases' times.
    is_final: bool,
    /// The product whose leaderboard it is, and the number of its last purchase on the page.
    last: Option<(Id, i64)>,
    /// The cache's count when it was read: the names of products may change.
    structure: u64,
}

impl PageBasis {
    fn of(page: &Page<LeaderboardItem>, product: Option<Id>, structure: u64, now: Timestamp) -> Self {
        let is_past = page
            .items
            .last()
            .is_some_and(|last| now.milliseconds() - last.purchased_at.milliseconds() > TRANSACTION_MS_MAX);
        Self {
            is_final: page.next_cursor.is_some() && (product.is_some() || is_past),
            last: product.zip(page.items.last().map(|item| item.sequence)),
            structure,
        }
    }

    fn holds(&self, cache: &ProductCache) -> bool {
        let has_all =
            |(id, sequence)| cache.current(id).is_some_and(|product| product.purchase_count == sequence);
        self.structure == cache.structure() && (self.is_final || self.last.is_some_and(has_all))
    }
}

async fn read_page(
    app: &App,
    product: Option<Id>,
    page: &PageRequest<PurchaseCursor>,
) -> Result<Page<LeaderboardItem>> {
    let selection = product.map_or(Selection::Everything, Selection::Product);
    let before = page.after.as_ref().map_or(0, |after| after.rank);
    let purchases = service::list(app.store(), selection, Order::OldestFirst, page).await?;
    let ranked: Vec<(i64, Purchase)> = (before + 1..).zip(purchases).collect();
    let ranked =
        Page::of(ranked, page.limit, |(rank, purchase)| PurchaseCursor::of(purchase, *rank, product));
    // The names as they are now; a product that was sold cannot be deleted.
    let mut ids: Vec<_> = ranked.items.iter().map(|(_, purchase)| purchase.product_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let names = if ids.is_empty() { Default::default() } else { app.catalogue().names(ids).await? };
    Ok(ranked.map(|(rank, purchase)| {
        let product_name = names.get(&purchase.product_id).cloned().unwrap_or_default();
        LeaderboardItem::of(purchase, rank, product_name)
    }))
}

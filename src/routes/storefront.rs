//! The storefront: one page at each of its addresses, and its files under `/assets`. They are compiled into the program
//! as they are in `web/`; there is no build step. The modules that everybody needs are served as one (`bundle`).

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::get;

use self::assets::Assets;
use self::page::{Page, Preview};
use super::state::{App, AppState};
use crate::config::{Registration, Shop};
use crate::error::Error;
use crate::http::file::Caching;
use crate::http::path::PathId;
use crate::http::request_id::ForPeople;

mod assets;
mod bundle;
mod page;
mod theme;

/// The page runs and loads only files of this server, except for the products' pictures, whose addresses admins enter.
/// `require-trusted-types-for`: the browser refuses to turn text into markup when a script asks for it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: http: data:; \
    connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'";

/// The addresses of the storefront that are the same for everybody; the page's script shows the view. None is one of the
/// API. The address of a sale is `/sales/{id}`.
pub const VIEWS: [&str; 9] = [
    "/",
    "/my/purchases",
    "/my/purchases/{id}",
    "/admin",
    "/admin/users",
    "/admin/audit",
    "/admin/new",
    "/admin/sales/{id}",
    "/admin/sales/{id}/control",
];

/// The pages and files of this shop's storefront.
pub fn router(shop: &Shop, registration: Registration) -> Router<AppState> {
    let assets = Assets::new(shop.color.map(theme::css));
    let page = Arc::new(Page::new(shop, registration, &assets.build));
    let views =
        VIEWS.iter().fold(Router::new(), |router, path| router.route(path, page.whole.clone().route()));
    let sale = async move |State(app): State<AppState>, id: PathId, headers: HeaderMap| {
        sale(&app, &page, id, &headers).await
    };
    views.route("/sales/{id}", get(sale)).merge(assets.router())
}

/// The page of a sale. Its head names the sale, for those who show a preview of a link.
async fn sale(app: &App, page: &Page, id: PathId, headers: &HeaderMap) -> Response {
    let product = match id.or(Error::ProductNotFound) {
        Ok(id) => app.product_pages.product(id).await,
        Err(missing) => Err(missing),
    };
    match product.map(|product| Preview::of(product.json())) {
        Ok(Some(preview)) => page.of_sale(&preview, headers),
        // The page itself asks again, and says what is wrong: people who follow an old link are to see a page. The status is
        // for programs, such as those that search the web.
        Err(Error::ProductNotFound) => missing(page, headers),
        Ok(None) | Err(_) => page.whole.answer(headers, Caching::Revalidate),
    }
}

/// The page with 404: also for a browser that has it from before the sale was deleted.
fn missing(page: &Page, headers: &HeaderMap) -> Response {
    let mut headers = headers.clone();
    headers.remove(header::IF_NONE_MATCH);
    let mut response = page.whole.answer(&headers, Caching::Revalidate);
    *response.status_mut() = StatusCode::NOT_FOUND;
    response.extensions_mut().insert(ForPeople);
    response
}

//! The storefront: a page at `/` and its files under `/assets`. They are compiled into the program as they are in
//! `web/`; there is no build step.

use axum::Router;

use super::state::AppState;
use crate::http::file::File;

/// The page; it is served at `/`, every other file under `/assets/`.
const PAGE: &str = "index.html";

macro_rules! files {
    ($($name:literal,)*) => {
        /// All files, by their names in `web/`.
        const FILES: &[(&str, &[u8])] = &[$(($name, include_bytes!(concat!("../../web/", $name))),)*];
    };
}

files! {
    "index.html",
    "favicon.svg",
    "base.css",
    "shop.css",
    "admin.css",
    "main.js",
    "router.js",
    "dom.js",
    "format.js",
    "access.js",
    "announce.js",
    "api.js",
    "session.js",
    "clock.js",
    "store.js",
    "live.js",
    "purchase.js",
    "rates.js",
    "parts/account.js",
    "parts/admin.js",
    "parts/buy.js",
    "parts/card.js",
    "parts/confirm.js",
    "parts/countdown.js",
    "parts/export.js",
    "parts/fields.js",
    "parts/groups.js",
    "parts/header.js",
    "parts/labels.js",
    "parts/leaderboard.js",
    "parts/pages.js",
    "parts/password.js",
    "parts/picture.js",
    "parts/sparkline.js",
    "parts/states.js",
    "parts/stock.js",
    "views/admin.js",
    "views/audit.js",
    "views/catalogue.js",
    "views/product.js",
    "views/purchases.js",
    "views/sale.js",
    "views/users.js",
}

/// The page runs and loads only files of this server, except for the products' pictures, whose addresses admins enter.
/// `require-trusted-types-for`: the browser refuses to turn text into markup when a script asks for it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: http: data:; \
    connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'";

pub fn router() -> Router<AppState> {
    FILES.iter().fold(Router::new(), |router, (name, bytes)| {
        let path = if *name == PAGE { "/".to_owned() } else { format!("/assets/{name}") };
        router.route(&path, File::new(name, *bytes, POLICY).route())
    })
}

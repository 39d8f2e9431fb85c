//! The storefront's files, below an address that names the build. A browser keeps them for good, and asks for all of them
//! again when one has changed: modules import each other by relative addresses, so the whole build has one.

use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::routing::get;
use sha2::{Digest, Sha256};

use super::{POLICY, bundle};
use crate::http::file::{Caching, File};
use crate::routes::state::AppState;

macro_rules! files {
    ($($name:literal,)*) => {
        /// All files, by their names in `web/`.
        const FILES: &[(&str, &[u8])] = &[$(($name, include_bytes!(concat!("../../../web/", $name))),)*];
    };
}

files! {
    "favicon.svg",
    "base.css",
    "shop.css",
    "theme.css",
    "admin.css",
    "main.js",
    "router.js",
    "dom.js",
    "format.js",
    "access.js",
    "announce.js",
    "api.js",
    "curve.js",
    "session.js",
    "clock.js",
    "store.js",
    "live.js",
    "own.js",
    "purchase.js",
    "rates.js",
    "servers.js",
    "unpaid.js",
    "parts/account.js",
    "parts/actions.js",
    "parts/admin.js",
    "parts/buy.js",
    "parts/buyer.js",
    "parts/card.js",
    "parts/chart.js",
    "parts/confirm.js",
    "parts/countdown.js",
    "parts/export.js",
    "parts/fields.js",
    "parts/groups.js",
    "parts/header.js",
    "parts/health.js",
    "parts/instant.js",
    "parts/labels.js",
    "parts/leaderboard.js",
    "parts/outcome.js",
    "parts/pages.js",
    "parts/password.js",
    "parts/paying.js",
    "parts/picture.js",
    "parts/purchases.js",
    "parts/refund.js",
    "parts/report.js",
    "parts/settling.js",
    "parts/sparkline.js",
    "parts/states.js",
    "parts/share.js",
    "parts/stock.js",
    "views/admin.js",
    "views/audit.js",
    "views/catalogue.js",
    "views/control.js",
    "views/product.js",
    "views/purchases.js",
    "views/receipt.js",
    "views/sale.js",
    "views/users.js",
}

/// Made and compressed once per process: tests start many servers.
static ASSETS: LazyLock<Vec<(String, Bytes, File)>> = LazyLock::new(|| {
    let (scripts, others): (Vec<_>, Vec<_>) = FILES.iter().partition(|(name, _)| name.ends_with(".js"));
    let sources = scripts.iter().filter_map(|(name, bytes)| Some((*name, std::str::from_utf8(bytes).ok()?)));
    let scripts = bundle::scripts(&sources.collect());
    let scripts = scripts.into_iter().map(|(name, text)| (name, Bytes::from(text)));
    let others = others.iter().map(|(name, bytes)| ((*name).to_owned(), Bytes::from_static(bytes)));
    let file = |(name, bytes): (String, Bytes)| {
        let file = File::new(&name, bytes.clone(), POLICY);
        (name, bytes, file)
    };
    others.chain(scripts).map(file).collect()
});

/// The style sheet that a shop's colour replaces.
const THEME: &str = "theme.css";

/// The files of one shop's storefront.
pub struct Assets {
    /// The part of the files' addresses that changes with their content.
    pub build: String,
    theme: Option<File>,
}

impl Assets {
    /// `theme` is in place of `theme.css`.
    pub fn new(theme: Option<String>) -> Self {
        let mut digest = Sha256::new();
        for (name, bytes, _) in ASSETS.iter() {
            digest.update(name);
            digest.update(bytes.len().to_be_bytes());
            digest.update(bytes);
        }
        digest.update(theme.as_deref().unwrap_or_default());
        let build = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { build, theme: theme.map(|css| File::new(THEME, css, POLICY)) }
    }

    /// `/assets/{build}/...`. While servers of two versions run side by side, the page of one asks the other for its files:
    /// it gets the other's, but may not keep them. So does `/docs`, which names no build.
    pub fn router(self) -> Router<AppState> {
        ASSETS.iter().fold(Router::new(), |router, (name, _, file)| {
            let own = self.theme.as_ref().filter(|_| name == THEME);
            let (file, build) = (own.unwrap_or(file).clone(), self.build.clone());
            let serve = async move |Path(asked): Path<String>, headers: HeaderMap| {
                let caching = if asked == build { Caching::Forever } else { Caching::Revalidate };
                file.answer(&headers, caching)
            };
            router.route(&format!("/assets/{{build}}/{name}"), get(serve))
        })
    }
}

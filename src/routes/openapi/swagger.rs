//! The page to try the API, at `/docs/`: Swagger UI from its crate, in a page of ours. The crate's own page has a bar
//! that loads a document from any address, no title, and no layout for a phone.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Bytes;
use axum::response::Redirect;
use axum::routing::get;
use utoipa_swagger_ui::Config;

use crate::http::file::File;
use crate::routes::state::AppState;

/// The storefront's policy with two exceptions. Swagger UI turns texts of the document into markup, which
/// `require-trusted-types-for` would forbid; and its style sheet contains its pictures (`data:`). People enter tokens
/// here, so the page runs nothing from another host, sends nothing to one, and is not shown in another host's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The page; it is served at `/docs/`, every other file below.
const PAGE: &str = "index.html";

const OWN: [(&str, &[u8]); 3] = [
    (PAGE, include_bytes!("swagger/index.html")),
    ("page.css", include_bytes!("swagger/page.css")),
    ("start.js", include_bytes!("swagger/start.js")),
];

/// The files from the Swagger UI crate.
const THEIRS: [&str; 2] = ["swagger-ui-bundle.js", "swagger-ui.css"];

/// All files, by name. Computing the entity tags means hashing two megabytes, so it is done once per process: tests
/// start many servers.
static FILES: LazyLock<Vec<(&str, File)>> = LazyLock::new(|| {
    let own = OWN.map(|(name, bytes)| (name, Bytes::from_static(bytes)));
    let theirs = THEIRS.iter().filter_map(|name| Some((*name, swagger_file(name)?)));
    own.into_iter().chain(theirs).map(|(name, bytes)| (name, File::new(name, bytes, POLICY))).collect()
});

pub fn router() -> Router<AppState> {
    let page = Router::new().route("/docs", get(async || Redirect::to("/docs/")));
    FILES.iter().fold(page, |router, (name, file)| {
        let path = if *name == PAGE { "/docs/".to_owned() } else { format!("/docs/{name}") };
        router.route(&path, file.clone().route())
    })
}

fn swagger_file(name: &str) -> Option<Bytes> {
    // Only the crate's own page uses the configuration.
    let file = utoipa_swagger_ui::serve(name, Arc::new(Config::default())).ok()??;
    Some(match file.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    })
}

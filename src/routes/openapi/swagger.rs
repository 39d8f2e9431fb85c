//! The page to try the API, at `/docs/`: Swagger UI, as its crate brings it, started by a page of ours. The crate's own page
//! has a bar that loads the document of any address, no title, and nothing for a phone.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Bytes;
use axum::response::Redirect;
use axum::routing::get;
use utoipa_swagger_ui::Config;

use crate::http::file::File;
use crate::routes::state::AppState;

/// The storefront's policy with two exceptions. Swagger UI makes markup out of the document's texts, so it cannot be held
/// to `require-trusted-types-for`; and its style sheet has its pictures within itself (`data:`). A token may be entered
/// here, so nothing of another host runs, nothing is sent to one, and no page of another host shows this one in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The page; it is served at `/docs/`, every other file below.
const PAGE: &str = "index.html";

/// What is ours.
const OWN: [(&str, &[u8]); 3] = [
    (PAGE, include_bytes!("swagger/index.html")),
    ("page.css", include_bytes!("swagger/page.css")),
    ("start.js", include_bytes!("swagger/start.js")),
];

/// What the page needs of Swagger UI.
const THEIRS: [&str; 2] = ["swagger-ui-bundle.js", "swagger-ui.css"];

/// All files, by their names. They have two megabytes to make tags of, so that is done once, however many servers a test
/// starts.
static FILES: LazyLock<Vec<(&str, File)>> = LazyLock::new(|| {
    let own = OWN.map(|(name, bytes)| (name, Bytes::from_static(bytes)));
    let theirs = THEIRS.iter().filter_map(|name| Some((*name, swagger_file(name)?)));
    own.into_iter().chain(theirs).map(|(name, bytes)| (name, File::new(name, bytes, POLICY))).collect()
});

/// The routes of all files.
pub fn router() -> Router<AppState> {
    let page = Router::new().route("/docs", get(async || Redirect::to("/docs/")));
    FILES.iter().fold(page, |router, (name, file)| {
        let path = if *name == PAGE { "/docs/".to_owned() } else { format!("/docs/{name}") };
        router.route(&path, file.clone().route())
    })
}

fn swagger_file(name: &str) -> Option<Bytes> {
    // The configuration is for the crate's own page.
    let file = utoipa_swagger_ui::serve(name, Arc::new(Config::default())).ok()??;
    Some(match file.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    })
}

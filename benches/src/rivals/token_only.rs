//! `token-only`: the least work that an answer takes. A purchase is read, its token is checked, and the same bytes
//! are answered every time; a read of any other path is routed and gets the same bytes. The product's extra time is
//! the price of correct answers.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRef, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::{Buyer, Common, Verifier, serve};
use crate::Outcome;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    /// The status of the answer
    #[arg(long, default_value_t = 200)]
    status: u16,
    /// A header of the answer, NAME:VALUE
    #[arg(long = "header")]
    headers: Vec<String>,
    /// The file with the body of the answer; an empty body by default
    #[arg(long)]
    answer: Option<PathBuf>,
}

struct Server {
    verifier: Verifier,
    status: StatusCode,
    headers: HeaderMap,
    body: axum::body::Bytes,
}

impl FromRef<Arc<Server>> for Verifier {
    fn from_ref(server: &Arc<Server>) -> Self {
        server.verifier.clone()
    }
}

pub async fn run(arguments: Arguments) -> Outcome {
    let body = match &arguments.answer {
        Some(path) => std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?,
        None => Vec::new(),
    };
    let mut headers = HeaderMap::new();
    for header in &arguments.headers {
        let (name, value) = header.split_once(':').ok_or("--header has to be NAME:VALUE")?;
        headers.append(HeaderName::try_from(name.trim())?, HeaderValue::try_from(value.trim())?);
    }
    let server = Arc::new(Server {
        verifier: arguments.common.verifier(),
        status: StatusCode::from_u16(arguments.status)?,
        headers,
        body: body.into(),
    });
    let router = Router::new()
        .route("/products/purchase", post(purchase))
        .route("/{*path}", get(read))
        .with_state(server);
    serve(arguments.common.port, router).await
}

/// Reads the body from the connection without looking at it.
async fn purchase(State(server): State<Arc<Server>>, _: Buyer, _: axum::body::Bytes) -> Response {
    server.answer()
}

async fn read(State(server): State<Arc<Server>>) -> Response {
    server.answer()
}

impl Server {
    fn answer(&self) -> Response {
        (self.status, self.headers.clone(), Body::from(self.body.clone())).into_response()
    }
}

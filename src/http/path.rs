//! The id in a path.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use crate::app::AppState;
use crate::error::Error;
use crate::id::Id;

/// The path's `{id}`; none when it is no id, which is the id of nothing.
pub struct PathId(Option<Id>);

impl PathId {
    /// The id.
    ///
    /// # Errors
    /// `missing`, when it is none.
    pub fn or(self, missing: Error) -> Result<Id, Error> {
        self.0.ok_or(missing)
    }
}

impl FromRequestParts<AppState> for PathId {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Error> {
        let text = Path::<String>::from_request_parts(parts, app).await.ok();
        Ok(Self(text.and_then(|Path(text)| text.parse().ok())))
    }
}

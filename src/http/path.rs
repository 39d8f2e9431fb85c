use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use crate::error::Error;
use crate::model::id::Id;

/// The path's `{id}`; `None` when the text is not an id, so that nothing can have it.
pub struct PathId(Option<Id>);

impl PathId {
    /// # Errors
    /// `missing`, when the text is not an id.
    pub fn or(self, missing: Error) -> Result<Id, Error> {
        self.0.ok_or(missing)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let text = Path::<String>::from_request_parts(parts, state).await.ok();
        Ok(Self(text.and_then(|Path(text)| text.parse().ok())))
    }
}

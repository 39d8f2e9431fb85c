//! Strict JSON bodies: the media type, the size, the syntax and every field are checked before a handler runs.

use axum::body::Body as HttpBody;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use crate::app::AppState;
use crate::config::Limits;
use crate::error::{Error, Result};
use crate::http::fields::Fields;

/// A request body that can be read field by field.
pub trait FromFields: Sized {
    /// Takes its members out of `fields`; `None` when one of them is wrong, which `fields` has noted.
    fn from_fields(fields: &mut Fields) -> Option<Self>;
}

/// Extracts a body of type `T`. Refuses with `unsupported_media_type`, `payload_too_large`, `malformed_json` or
/// `validation_failed`.
pub struct Body<T>(pub T);

impl<T: FromFields> FromRequest<AppState> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, app: &AppState) -> Result<Self> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts.headers) {
            return Err(Error::UnsupportedMediaType);
        }
        let bytes = read(body, app.limits()).await?;
        if bytes.is_empty() {
            return Err(Error::MalformedJson { detail: "The body is empty.".into() });
        }
        let value: Value = serde_json::from_slice(&bytes).map_err(malformed)?;
        let mut fields = Fields::of(value)?;
        let request = T::from_fields(&mut fields);
        fields.finish(request).map(Self)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

async fn read(body: HttpBody, limits: &Limits) -> Result<bytes::Bytes> {
    let patience = Limits::milliseconds(limits.body_read_ms_max);
    let body_bytes_max = limits.body_bytes_max;
    let Ok(result) = tokio::time::timeout(patience, Limited::new(body, body_bytes_max).collect()).await
    else {
        return Err(too_slow());
    };
    match result {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => {
            Err(Error::PayloadTooLarge { body_bytes_max })
        }
        Err(_) => Err(incomplete()),
    }
}

/// A body whose client took too long to send it.
pub fn too_slow() -> Error {
    Error::MalformedJson { detail: "The body did not arrive in time.".into() }
}

/// A body that broke off.
pub fn incomplete() -> Error {
    Error::MalformedJson { detail: "The body did not arrive completely.".into() }
}

fn malformed(error: serde_json::Error) -> Error {
    // serde_json's text has the kind of mistake and its place, and nothing of the body.
    Error::MalformedJson { detail: format!("The body cannot be read as JSON: {error}.") }
}

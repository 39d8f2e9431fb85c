//! Strict JSON bodies: media type, size, syntax and every field are checked before a handler runs.

use std::pin::pin;
use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::body::HttpBody as _;
use axum::extract::{FromRef, FromRequest, OptionalFromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures_util::future::poll_immediate;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use crate::config::HttpLimits;
use crate::error::{Error, Result};
use crate::http::fields::Fields;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A request body that can be read field by field.
pub trait FromFields: Sized {
    /// Takes its members out of `fields`. `None` when a member is wrong; `fields` then holds the error.
    fn from_fields(fields: &mut Fields) -> Option<Self>;

    /// A fast path for correct bodies: reads one at a fraction of the cost. `None` means that `from_fields` decides.
    /// Both must read the same values.
    fn from_plain(_json: &[u8]) -> Option<Self> {
        None
    }
}

/// All members unread, for a handler whose rules need more than the body. It has to call `finish`.
impl FromFields for Fields {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        Some(std::mem::take(fields))
    }
}

/// Extracts a body of type `T`. Refuses with `unsupported_media_type`, `payload_too_large`, `malformed_json` or
/// `validation_failed`.
pub struct Body<T>(pub T);

impl<T: FromFields, S: Send + Sync> FromRequest<S> for Body<T>
where
    HttpLimits: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts.headers) || is_encoded(&parts.headers) {
            return Err(Error::UnsupportedMediaType);
        }
        let bytes = read(body, HttpLimits::from_ref(state)).await?;
        if bytes.is_empty() {
            return Err(Error::MalformedJson { detail: "The body is empty.".into() });
        }
        parse(&bytes).map(Self)
    }
}

/// `None` for a request without a body, where all members may be missing, whatever the media type says.
impl<T: FromFields, S: Send + Sync> OptionalFromRequest<S> for Body<T>
where
    HttpLimits: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>> {
        if request.body().is_end_stream() {
            return Ok(None);
        }
        <Self as FromRequest<S>>::from_request(request, state).await.map(Some)
    }
}

/// A body with the digest of what was sent, for routes that honour an idempotency key.
pub struct Digested<T> {
    /// The body.
    pub body: T,
    /// `Fields::digest` of it.
    pub digest: String,
}

impl<T: FromFields> FromFields for Digested<T> {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let digest = fields.digest();
        Some(Self { body: T::from_fields(fields)?, digest })
    }
}

fn parse<T: FromFields>(json: &[u8]) -> Result<T> {
    T::from_plain(json).map_or_else(|| parse_fields(json), Ok)
}

/// Reads a body field by field.
///
/// # Errors
/// `malformed_json` or `validation_failed`.
pub fn parse_fields<T: FromFields>(json: &[u8]) -> Result<T> {
    // RFC 8259, 8.1 allows to ignore a byte order mark; some clients send one.
    let json = json.strip_prefix(BYTE_ORDER_MARK).unwrap_or(json);
    let value: Value = serde_json::from_slice(json).map_err(malformed)?;
    let mut fields = Fields::of(value)?;
    let request = T::from_fields(&mut fields);
    fields.finish(request)
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return true;
    }
    let essence = essence.to_ascii_lowercase();
    essence.starts_with("application/") && essence.ends_with("+json")
}

/// Whether the body is compressed. That is refused: a small compressed body may expand to a huge one.
fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

async fn read(body: HttpBody, limits: HttpLimits) -> Result<Bytes> {
    let patience = Duration::from_millis(limits.body_read_ms_max);
    let body_bytes_max = limits.body_bytes_max;
    // The declared length is enough to refuse a body.
    if http_body::Body::size_hint(&body).lower() > body_bytes_max as u64 {
        return Err(Error::PayloadTooLarge { body_bytes_max });
    }
    let mut gathered = pin!(gather(Limited::new(body, body_bytes_max)));
    let result = match poll_immediate(gathered.as_mut()).await {
        // A small body has already arrived, and needs no timer.
        Some(result) => result,
        None => tokio::time::timeout(patience, gathered).await.map_err(|_| too_slow())?,
    };
    match result {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => {
            Err(Error::PayloadTooLarge { body_bytes_max })
        }
        Err(_) => Err(incomplete()),
    }
}

/// Reads a body to its end. A body in a single frame, the usual case, is not copied.
///
/// # Errors
/// Those of the body.
pub async fn gather<B>(mut body: B) -> Result<Bytes, B::Error>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        // Trailers are ignored.
        let Ok(data) = frame?.into_data() else { continue };
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    Ok([first, rest.freeze()].concat().into())
}

pub fn too_slow() -> Error {
    Error::MalformedJson { detail: "The body did not arrive in time.".into() }
}

/// The answer to a body that ended early.
pub fn incomplete() -> Error {
    Error::MalformedJson { detail: "The body did not arrive completely.".into() }
}

fn malformed(error: serde_json::Error) -> Error {
    // serde_json's text names the mistake and its position, and repeats nothing of the body.
    Error::MalformedJson { detail: format!("The body cannot be read as JSON: {error}.") }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    use super::*;

    fn data(text: &'static str) -> Result<Frame<Bytes>> {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    async fn check(frames: Vec<Result<Frame<Bytes>>>, expected: Result<&'static str>) {
        let gathered = gather(StreamBody::new(stream::iter(frames))).await;
        assert_eq!(gathered, expected.map(Bytes::from));
    }

    #[tokio::test]
    async fn a_body_is_gathered_from_all_its_frames() {
        let trailers = || Ok(Frame::trailers(HeaderMap::new()));
        check(vec![], Ok("")).await;
        check(vec![data("one")], Ok("one")).await;
        check(vec![data(""), data("one"), data(""), data("two"), data("three")], Ok("onetwothree")).await;
        check(vec![data("one"), trailers()], Ok("one")).await;
        check(vec![trailers()], Ok("")).await;
        check(vec![data("one"), Err(incomplete())], Err(incomplete())).await;
        check(vec![Err(incomplete()), data("one")], Err(incomplete())).await;
    }

    #[tokio::test]
    async fn a_body_in_one_piece_is_not_copied() {
        let body = Bytes::from(vec![b'x'; 100]);
        let gathered = gather(Full::new(body.clone())).await;
        assert_eq!(gathered.map(|gathered| gathered.as_ptr()), Ok(body.as_ptr()));
    }

    #[test]
    fn the_media_type_must_be_json() {
        let check = |value: &str, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(value).unwrap());
            assert_eq!(is_json(&headers), expected, "{value}");
        };
        check("application/json", true);
        check(" Application/JSON ; charset=utf-8", true);
        check("application/merge-patch+json", true);
        check("APPLICATION/LD+JSON", true);
        check("text/json", false);
        check("application/jsonp", false);
        check("application/xml, application/json", false);
        check("", false);
        assert!(!is_json(&HeaderMap::new()));
    }
}

//! A small HTTP client: one connection, hard limits in time, and it knows what it does not know.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::cluster::SECRET;
use crate::record::{Code, Exchange, Reply, now};

/// Long enough for every answer that a server owes.
pub const PATIENT: Duration = Duration::from_secs(20);

/// A connection to one server, opened when it is needed.
pub struct Connection {
    port: u16,
    stream: Option<TcpStream>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub etag: Option<String>,
    pub has_retry_after: bool,
    pub is_replay: bool,
    pub json: Value,
}

/// A request with a body.
pub struct Post<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub token: &'a str,
    pub key: Option<&'a str>,
    pub if_match: Option<&'a str>,
    pub body: Value,
}

impl Connection {
    /// To the server at this port.
    pub fn to(port: u16) -> Self {
        Self { port, stream: None }
    }

    /// Asks.
    pub async fn get(
        &mut self,
        path: &str,
        token: Option<&str>,
        patience: Duration,
    ) -> Result<Answer, Reply> {
        let mut head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n");
        if let Some(token) = token {
            _ = write!(head, "Authorization: Bearer {token}\r\n");
        }
        self.send(&format!("{head}\r\n"), patience).await
    }

    /// Sends something.
    pub async fn post(&mut self, post: &Post<'_>, patience: Duration) -> Result<Answer, Reply> {
        let (Post { method, path, token, .. }, body) = (post, post.body.to_string());
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n");
        for (name, value) in [("Idempotency-Key", post.key), ("If-Match", post.if_match)] {
            if let Some(value) = value {
                _ = write!(head, "{name}: {value}\r\n");
            }
        }
        let length = body.len();
        let request =
            format!("{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
        self.send(&request, patience).await
    }

    /// The error says what is known of a request without an answer. After one, the connection is closed.
    async fn send(&mut self, request: &str, patience: Duration) -> Result<Answer, Reply> {
        let deadline = Instant::now() + patience;
        let mut stream = match self.stream.take().filter(is_open) {
            Some(stream) => stream,
            None => {
                let connected = timeout_at(deadline, TcpStream::connect(("127.0.0.1", self.port))).await;
                let stream = connected.ok().and_then(Result::ok).ok_or(Reply::NotSent)?;
                drop(stream.set_nodelay(true));
                stream
            }
        };
        let exchange = async {
            stream.write_all(request.as_bytes()).await.map_err(|_| Reply::Cut)?;
            read_answer(&mut stream).await.ok_or(Reply::Cut)
        };
        let (answer, stays_open) = timeout_at(deadline, exchange).await.map_err(|_| Reply::GaveUp)??;
        if stays_open {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

/// Whether the server has not closed it while it was idle.
fn is_open(stream: &TcpStream) -> bool {
    let mut byte = [0];
    matches!(stream.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// The answer, and whether the connection may be used again.
async fn read_answer(stream: &mut TcpStream) -> Option<(Answer, bool)> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
    loop {
        let Ok(count @ 1..) = stream.read(&mut buffer).await else { return None };
        bytes.extend_from_slice(&buffer[..count]);
        if let Some(answer) = parse(&bytes) {
            return Some(answer);
        }
    }
}

/// None as long as it is not whole.
fn parse(bytes: &[u8]) -> Option<(Answer, bool)> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(body_at) = response.parse(bytes).ok()? else { return None };
    let header = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let length: usize = header("content-length").map_or(Some(0), |length| length.parse().ok())?;
    let body = bytes.get(body_at..body_at + length)?;
    let answer = Answer {
        status: response.code?,
        etag: header("etag").map(str::to_owned),
        has_retry_after: header("retry-after")
            .is_some_and(|value| value.parse().is_ok_and(|seconds: u64| seconds >= 1)),
        is_replay: header("idempotent-replayed") == Some("true"),
        json: serde_json::from_slice(body).unwrap_or_default(),
    };
    Some((answer, header("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close"))))
}

/// The exchange that has just ended, as it is written down.
pub fn exchange(server: u8, sent: u64, answer: &Result<Answer, Reply>) -> Exchange {
    let reply = match answer {
        Err(reply) => *reply,
        Ok(Answer { status, has_retry_after, json, .. }) => {
            let code = match json["code"].as_str() {
                Some(name) if *status >= 400 => Code::named(name),
                _ if *status >= 400 => Code::Strange,
                _ => Code::None,
            };
            Reply::Answer { status: *status, code, has_retry_after: *has_retry_after }
        }
    };
    Exchange { server, sent, ended: now(), reply }
}

/// A token for this user, as any identity provider could mint it.
pub fn token(user: &str, name: &str, role: &str) -> String {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims = json!({
        "sub": user, "name": name, "role": role, "iss": "flash-sale", "aud": "flash-sale",
        "iat": now, "nbf": now - 60, "exp": now + 24 * 60 * 60,
    });
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(json!({ "alg": "HS256", "typ": "JWT" })), encode(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key of any length");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_once_it_is_whole() {
        let text = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 24\r\nRetry-After: 2\r\n\r\n{\"code\":\"overloaded\"}   ";
        assert!(parse(&text.as_bytes()[..text.len() - 4]).is_none());
        let (answer, stays_open) = parse(text.as_bytes()).unwrap();
        assert!(stays_open && answer.has_retry_after && !answer.is_replay);
        let reply = exchange(1, 5, &Ok(answer)).reply;
        assert_eq!(reply, Reply::Answer { status: 503, code: Code::Overloaded, has_retry_after: true });
    }
}

//! A minimal HTTP/1.1 client for prepared requests: a general one would use more of the machine than the server does.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// More headers than our server sends.
const HEADERS_MAX: usize = 32;
/// Larger than any answer of our server, head and body.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What an answer means for the rehearsal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// 201.
    Bought,
    /// 201 with `Idempotent-Replayed`.
    Replayed,
    /// 409 `sold_out` or `insufficient_stock`.
    SoldOut,
    /// 409 `purchase_limit_reached`.
    LimitReached,
    /// 503 `overloaded` and 429.
    Overloaded,
    /// 503 `database_unavailable`.
    Unavailable,
    /// 503 `outcome_unknown`.
    Unknown,
    /// Any other answer.
    Unexpected,
    /// No answer: the connection broke.
    Broken,
}

impl Kind {
    /// All kinds, in the order of the report.
    pub const ALL: [Kind; 9] = [
        Kind::Bought,
        Kind::Replayed,
        Kind::SoldOut,
        Kind::LimitReached,
        Kind::Overloaded,
        Kind::Unavailable,
        Kind::Unknown,
        Kind::Unexpected,
        Kind::Broken,
    ];

    /// The name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bought => "bought",
            Kind::Replayed => "replayed",
            Kind::SoldOut => "sold out",
            Kind::LimitReached => "limit reached",
            Kind::Overloaded => "overloaded",
            Kind::Unavailable => "unavailable",
            Kind::Unknown => "outcome unknown",
            Kind::Unexpected => "unexpected",
            Kind::Broken => "no answer",
        }
    }

    /// Whether the server has decided: there is a purchase, or there definitely is none.
    pub fn is_definite(self) -> bool {
        matches!(self, Kind::Bought | Kind::Replayed | Kind::SoldOut | Kind::LimitReached)
    }

    fn of(status: u16, replayed: bool, body: &[u8]) -> Self {
        let says = |code: &str| body.windows(code.len()).any(|window| window == code.as_bytes());
        match status {
            201 if replayed => Kind::Replayed,
            201 => Kind::Bought,
            409 if says("\"sold_out\"") || says("\"insufficient_stock\"") => Kind::SoldOut,
            409 if says("\"purchase_limit_reached\"") => Kind::LimitReached,
            429 => Kind::Overloaded,
            503 if says("\"overloaded\"") => Kind::Overloaded,
            503 if says("\"database_unavailable\"") => Kind::Unavailable,
            503 if says("\"outcome_unknown\"") => Kind::Unknown,
            _ => Kind::Unexpected,
        }
    }
}

/// The parts of an answer that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// What the answer means.
    pub kind: Kind,
}

/// A connection that is kept open.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects, without Nagle's delay.
    ///
    /// # Errors
    /// Those of the operating system.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(2048) })
    }

    /// The bytes of the last answer.
    pub fn received(&self) -> &[u8] {
        &self.buffer
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// The connection broke, or the answer is not HTTP.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(answer) = parse(&self.buffer)? {
                return Ok(answer);
            }
            if self.buffer.len() > ANSWER_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too long"));
            }
        }
    }
}

/// Reads an answer; `None` while it is not complete.
fn parse(bytes: &[u8]) -> io::Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let status = response.parse(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let httparse::Status::Complete(head) = status else { return Ok(None) };
    let header = |name: &str| response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    let status = response.code.unwrap_or_default();
    let length = header("content-length")
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok())
        // 204 and 304 have no body, whatever their headers say (RFC 9112, 6.3).
        .or_else(|| matches!(status, 204 | 304).then_some(0))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an answer without a length"))?;
    let Some(body) = bytes.get(head..head.saturating_add(length)) else { return Ok(None) };
    let replayed = header("idempotent-replayed").is_some();
    Ok(Some(Answer { status, kind: Kind::of(status, replayed, body) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_it_is_complete() {
        let answer = b"HTTP/1.1 409 Conflict\r\ncontent-length: 19\r\n\r\n{\"code\":\"sold_out\"}";
        for end in 0..answer.len() {
            assert_eq!(parse(&answer[..end]).unwrap(), None, "{end}");
        }
        assert_eq!(parse(answer).unwrap(), Some(Answer { status: 409, kind: Kind::SoldOut }));
        let replay = b"HTTP/1.1 201 Created\r\nIdempotent-Replayed: true\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(parse(replay).unwrap(), Some(Answer { status: 201, kind: Kind::Replayed }));
        let unchanged = b"HTTP/1.1 304 Not Modified\r\nETag: \"7\"\r\n\r\n";
        assert_eq!(parse(unchanged).unwrap().map(|answer| answer.status), Some(304));
        assert!(parse(b"SSH-2.0-OpenSSH\r\n\r\n").is_err());
    }
}

//! A connection that receives events.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::chunks::Chunks;
use crate::target::Target;

/// The product's answers have fewer headers.
const HEADERS_MAX: usize = 32;
/// The longest event, in bytes.
const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// A small read buffer, because thousands of these are held.
const BUFFER_BYTES: usize = 2048;

#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// The value of `event:`; `message` without it.
    pub name: String,
    /// The values of `data:`, joined by line ends.
    pub data: String,
}

/// The events of one product.
pub struct Events {
    stream: TcpStream,
    chunks: Chunks,
    received: Vec<u8>,
    text: Vec<u8>,
}

impl Events {
    /// Requests the events and reads the head of the answer.
    ///
    /// # Errors
    ///
    /// I/O errors, or the answer is not a stream of events.
    pub async fn open(target: &Target, product: &str, query: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(target.address).await?;
        let path = format!("/products/{product}/events{query}");
        stream.write_all(&target.request("GET", &path, "Accept: text/event-stream\r\n", "")).await?;
        let mut received = Vec::with_capacity(BUFFER_BYTES);
        let head = loop {
            if stream.read_buf(&mut received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(length) = head(&received)? {
                break length;
            }
        };
        received.drain(..head);
        let mut events = Self { stream, chunks: Chunks::default(), received, text: Vec::new() };
        events.take_received()?;
        Ok(events)
    }

    /// The next event; `None` when the server has ended the stream.
    ///
    /// # Errors
    ///
    /// The connection broke, or the data is not an event.
    pub async fn next(&mut self) -> io::Result<Option<Event>> {
        loop {
            if let Some(event) = take_event(&mut self.text) {
                // Comments only keep the connection alive.
                if !event.data.is_empty() {
                    return Ok(Some(event));
                }
                continue;
            }
            if self.text.len() > EVENT_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "an event without an end"));
            }
            if self.stream.read_buf(&mut self.received).await? == 0 || self.take_received()? {
                return Ok(None);
            }
        }
    }

    fn take_received(&mut self) -> io::Result<bool> {
        let ended = self.chunks.take_off(&self.received, &mut self.text);
        self.received.clear();
        ended
    }
}

/// The length of the answer's head; `None` while it is incomplete.
fn head(bytes: &[u8]) -> io::Result<Option<usize>> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let status = response.parse(bytes).map_err(|error| invalid(error.to_string()))?;
    let httparse::Status::Complete(length) = status else { return Ok(None) };
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value).into_owned()).unwrap_or_default()
    };
    let is_chunked = header("transfer-encoding").eq_ignore_ascii_case("chunked");
    if response.code != Some(200) || !header("content-type").starts_with("text/event-stream") || !is_chunked {
        return Err(invalid(format!("no stream of events: status {}", response.code.unwrap_or_default())));
    }
    Ok(Some(length))
}

/// Removes the first complete event from the text.
fn take_event(text: &mut Vec<u8>) -> Option<Event> {
    let end = text.windows(2).position(|pair| pair == b"\n\n")?;
    let event = parse(&String::from_utf8_lossy(&text[..end]));
    text.drain(..end + 2);
    Some(event)
}

fn parse(text: &str) -> Event {
    let mut event = Event { name: "message".into(), data: String::new() };
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut event.name),
            "data" => {
                if !event.data.is_empty() {
                    event.data.push('\n');
                }
                event.data.push_str(value);
            }
            _ => {}
        }
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_one_by_one() {
        let mut text = b": hello\n\nid: 7\nevent: stock\ndata: {}\n\nevent: pro".to_vec();
        assert_eq!(take_event(&mut text).unwrap().data, "");
        let stock = Event { name: "stock".into(), data: "{}".into() };
        assert_eq!(take_event(&mut text), Some(stock));
        assert_eq!(take_event(&mut text), None);
        assert_eq!(text, b"event: pro");
    }
}

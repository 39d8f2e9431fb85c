//! A connection on which a test can send bytes that no HTTP client would send, or hang up at any moment.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Connects with a small receive buffer.
pub async fn narrow(host: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    socket.connect(host.parse().unwrap()).await.unwrap()
}

pub struct RawConnection(TcpStream);

impl RawConnection {
    pub async fn open(host: &str) -> Self {
        Self(TcpStream::connect(host).await.unwrap())
    }

    /// Over this connection.
    pub fn over(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// A connection that takes few bytes before the test reads it.
    pub async fn open_narrow(host: &str) -> Self {
        Self(narrow(host).await)
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// Reads one answer with a body and keeps the connection. Empty if the server has closed it.
    pub async fn read_answer(&mut self) -> String {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let length = text
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
            let is_complete =
                |length| text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.len() >= length);
            if length.is_some_and(is_complete) {
                return text;
            }
            match self.0.read(&mut buffer).await {
                Ok(count @ 1..) => bytes.extend_from_slice(&buffer[..count]),
                Ok(_) | Err(_) => return text,
            }
        }
    }

    /// Reads until the text contains `end`.
    pub async fn read_until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        while !String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(buffer.len() * 2)..]).contains(end) {
            match self.0.read(&mut buffer).await {
                Ok(count @ 1..) => bytes.extend_from_slice(&buffer[..count]),
                end => panic!("{end:?}"),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads until the server closes the connection, or resets it.
    pub async fn read_to_end(self) -> String {
        String::from_utf8_lossy(&self.read_bytes_to_end().await).into_owned()
    }

    /// The same for bytes that are not text.
    pub async fn read_bytes_to_end(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = self.0.read(&mut buffer).await {
            bytes.extend_from_slice(&buffer[..count]);
        }
        bytes
    }
}

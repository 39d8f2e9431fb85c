//! A connection on which a test can send bytes that no HTTP client would, or hang up when it likes.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A TCP connection to a server.
pub struct RawConnection(TcpStream);

impl RawConnection {
    pub async fn open(host: &str) -> Self {
        Self(TcpStream::connect(host).await.unwrap())
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// Reads until the server closes the connection; what came before a reset counts.
    pub async fn read_to_end(mut self) -> String {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = self.0.read(&mut buffer).await {
            bytes.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

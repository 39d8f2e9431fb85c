//! A connection between a server and its database that a test can cut.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards everything that arrives at its address to the other end, until it is cut.
pub struct Wire {
    pub address: SocketAddr,
    is_whole: watch::Sender<bool>,
}

impl Wire {
    pub async fn to(end: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_whole, state) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, end.clone(), state.clone()));
            }
        });
        Self { address, is_whole }
    }

    /// Cuts all connections, and each new one at once.
    pub fn cut(&self) {
        self.is_whole.send_replace(false);
    }

    /// Lets new connections through again.
    pub fn mend(&self) {
        self.is_whole.send_replace(true);
    }
}

async fn carry(mut near: TcpStream, end: String, mut state: watch::Receiver<bool>) {
    if *state.borrow_and_update() {
        let mut far = TcpStream::connect(end).await.unwrap();
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut far) => {}
            _ = state.wait_for(|is_whole| !is_whole) => {}
        }
    }
}

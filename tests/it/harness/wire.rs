//! A connection between a server and its database that a test can cut or hold.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards everything that arrives at its address to the other end.
pub struct Wire {
    pub address: SocketAddr,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    /// Nothing arrives until it is released; nothing is lost.
    Held,
    Cut,
}

impl Wire {
    pub async fn to(end: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, state) = watch::channel(State::Whole);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, end.clone(), state.clone()));
            }
        });
        Self { address, state: sender }
    }

    /// Cuts all connections, and each new one at once.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Lets new connections through again.
    pub fn mend(&self) {
        self.state.send_replace(State::Whole);
    }

    /// Keeps back what is sent from now on.
    pub fn hold(&self) {
        self.state.send_replace(State::Held);
    }

    /// Sends what was kept back.
    pub fn release(&self) {
        self.state.send_replace(State::Whole);
    }
}

async fn carry(mut near: TcpStream, end: String, mut state: watch::Receiver<State>) {
    if *state.borrow_and_update() == State::Cut {
        return;
    }
    let mut far = TcpStream::connect(end).await.unwrap();
    let (near_out, near_in) = near.split();
    let (far_out, far_in) = far.split();
    tokio::select! {
        () = forward(near_out, far_in, state.clone()) => {}
        () = forward(far_out, near_in, state.clone()) => {}
        _ = state.wait_for(|state| *state == State::Cut) => {}
    }
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        if state.wait_for(|state| *state != State::Held).await.is_err()
            || to.write_all(&buffer[..bytes]).await.is_err()
        {
            return;
        }
    }
}

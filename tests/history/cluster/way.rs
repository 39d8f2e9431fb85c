//! A way over which bytes go, that a test can slow down, hold, drop and break, in each direction by itself.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::wire;

/// What happens to bytes in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flow {
    #[default]
    Open,
    /// Each byte comes so many milliseconds later.
    Slow(u64),
    /// Bytes wait, and come once it is open again.
    Held,
    /// Bytes are lost; what was lost to breaks its connection when it is open again.
    Dropped,
}

/// How a way is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Condition {
    /// From the client to the database.
    pub there: Flow,
    pub back: Flow,
    /// Raised to break all connections.
    pub breaks: u64,
    /// Connections are refused.
    pub refuses: bool,
}

/// One way, from anybody to one end.
#[derive(Debug, Clone)]
pub struct Way(Arc<watch::Sender<Condition>>);

impl Default for Way {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Condition::default())))
    }
}

impl Way {
    /// Lets bytes flow so.
    pub fn set(&self, there: Flow, back: Flow) {
        self.0.send_modify(|condition| (condition.there, condition.back) = (there, back));
    }

    /// Breaks all connections.
    pub fn break_all(&self) {
        self.0.send_modify(|condition| condition.breaks += 1);
    }

    /// Breaks all connections and takes no new ones.
    pub fn refuse(&self) {
        self.break_all();
        self.0.send_modify(|condition| condition.refuses = true);
    }

    /// As if nothing had been.
    pub fn heal(&self) {
        self.0.send_modify(|condition| {
            (condition.there, condition.back, condition.refuses) = (Flow::Open, Flow::Open, false);
        });
    }

    /// Carries one connection until either end closes it or it breaks.
    async fn carry(self, near: TcpStream, far: SocketAddr, names: Arc<HashMap<String, String>>) {
        let mut condition = self.0.subscribe();
        if condition.borrow_and_update().refuses {
            return;
        }
        let Ok(far) = TcpStream::connect(far).await else { return };
        drop((near.set_nodelay(true), far.set_nodelay(true)));
        let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
        let there = Direction { condition: self.0.subscribe(), flow: |now| now.there, names: None };
        let back = Direction { condition: self.0.subscribe(), flow: |now| now.back, names: Some(names) };
        let breaks = condition.borrow().breaks;
        tokio::select! {
            () = there.run(near_read, far_write) => {}
            () = back.run(far_read, near_write) => {}
            _ = condition.wait_for(|now| now.breaks != breaks) => {}
        }
    }
}

/// Who comes, and by which way he goes.
pub type Choose = Box<dyn Fn(SocketAddr) -> Way + Send + Sync>;

/// Listens, and carries each connection to `far` on the way that `choose` says. Answers about members get other `names`,
/// unless there are none.
pub async fn listen(
    listener: TcpListener,
    far: SocketAddr,
    names: Arc<HashMap<String, String>>,
    choose: Choose,
) {
    while let Ok((near, peer)) = listener.accept().await {
        tokio::spawn(choose(peer).carry(near, far, Arc::clone(&names)));
    }
}

/// One direction of a connection.
struct Direction {
    condition: watch::Receiver<Condition>,
    flow: fn(&Condition) -> Flow,
    names: Option<Arc<HashMap<String, String>>>,
}

impl Direction {
    /// Passes bytes on until the connection is over. Reading and writing are apart, so that a slow way is late and not narrow.
    async fn run(self, reader: OwnedReadHalf, mut writer: OwnedWriteHalf) {
        let (sender, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(256);
        let (mut condition, flow) = (self.condition.clone(), self.flow);
        let reading = self.read(reader, sender);
        let writing = async move {
            while let Some((moment, bytes)) = due.recv().await {
                sleep_until(moment).await;
                let passes = |now: &Condition| flow(now) != Flow::Held;
                if condition.wait_for(passes).await.is_err() || writer.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        };
        // When nothing more is read, what was read still goes out.
        tokio::join!(reading, writing);
    }

    async fn read(self, mut reader: OwnedReadHalf, sender: mpsc::Sender<(Instant, Vec<u8>)>) {
        let (mut condition, flow) = (self.condition, self.flow);
        let mut pending = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Ok(count @ 1..) = reader.read(&mut buffer).await else { return };
            let passes = flow(&condition.borrow_and_update());
            let delay = match passes {
                Flow::Dropped => {
                    // A stream with a hole is of no use any more.
                    drop(condition.wait_for(|now| flow(now) != Flow::Dropped).await);
                    return;
                }
                Flow::Slow(milliseconds) => Duration::from_millis(milliseconds),
                Flow::Open | Flow::Held => Duration::ZERO,
            };
            pending.extend_from_slice(&buffer[..count]);
            let ready = match &self.names {
                Some(names) if !names.is_empty() => whole_messages(&mut pending, names),
                _ => std::mem::take(&mut pending),
            };
            if !ready.is_empty() && sender.send((Instant::now() + delay, ready)).await.is_err() {
                return;
            }
        }
    }
}

/// Takes the whole messages out, with other names where they tell names.
fn whole_messages(pending: &mut Vec<u8>, names: &HashMap<String, String>) -> Vec<u8> {
    let (mut ready, mut start) = (Vec::new(), 0);
    while let Some(length) = wire::length(&pending[start..]) {
        let Some(message) = pending.get(start..start + length) else { break };
        match wire::renamed(message, names) {
            Some(renamed) => ready.extend(renamed),
            None => ready.extend_from_slice(message),
        }
        start += length;
    }
    pending.drain(..start);
    ready
}

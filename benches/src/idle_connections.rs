//! `idle-connections`: what an idle connection costs the server.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use flash_sale::rehearse::within;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::process::resident_kibibytes;
use crate::target::Target;
use crate::{DURATION_SECONDS, Outcome};

/// One address has about 28,000 ports, and other programs use some of them.
const CONNECTIONS_PER_ADDRESS: usize = 20_000;
/// Connections being opened at the same time: fewer than a listener's backlog.
const OPENING_MAX: usize = 100;
/// Larger than the head of any answer.
const BUFFER_BYTES: usize = 4096;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The server's address
    #[arg(long)]
    url: Target,
    /// How many connections
    #[arg(long, default_value_t = 10_000)]
    count: usize,
    /// The path that each connection requests once
    #[arg(long, default_value = "/time")]
    path: String,
    /// How long they are held, in seconds: less than the server's idle timeout
    #[arg(long, default_value_t = 3.0, value_parser = within(DURATION_SECONDS), allow_negative_numbers = true)]
    hold: f64,
    /// The process id of the server, on this machine
    #[arg(long)]
    pid: u32,
}

/// Opens the connections, holds them, and prints the memory they take.
pub async fn run(arguments: Arguments) -> Outcome {
    let before = resident_kibibytes(arguments.pid).ok_or("there is no process with this --pid")?;
    let request = arguments.url.request("GET", &arguments.path, "", "");
    let opening = (0..arguments.count).map(|number| open(arguments.url.address, number, &request));
    let connections: Vec<TcpStream> =
        stream::iter(opening).buffer_unordered(OPENING_MAX).try_collect().await?;
    let opened = resident_kibibytes(arguments.pid).ok_or("the server is gone")?;
    tokio::time::sleep(Duration::from_secs_f64(arguments.hold)).await;
    let held = resident_kibibytes(arguments.pid).ok_or("the server is gone")?;
    let open = connections.iter().filter(|connection| is_open(connection)).count();
    let report = json!({
        "connections": connections.len(),
        "stillOpen": open,
        "rssBeforeKib": before,
        "rssOpenedKib": opened,
        "rssHeldKib": held,
        "bytesPerConnection": held.saturating_sub(before) * 1024 / arguments.count.max(1) as u64,
    });
    println!("{report:#}");
    Ok(())
}

async fn open(server: SocketAddr, number: usize, request: &[u8]) -> Outcome<TcpStream> {
    let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if server.ip().is_loopback() && server.is_ipv4() {
        // All of 127.0.0.0/8 is this machine, and each address has its own ports.
        let last = 1 + u8::try_from(number / CONNECTIONS_PER_ADDRESS)?;
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))?;
    }
    let mut stream = socket.connect(server).await?;
    stream.write_all(request).await?;
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    // A small answer, such as that of GET /time, arrives in one piece.
    if stream.read_buf(&mut buffer).await? == 0 || !buffer.starts_with(b"HTTP/1.1 2") {
        return Err("the server did not answer with success".into());
    }
    Ok(stream)
}

/// Whether nothing has arrived, not even the end.
fn is_open(connection: &TcpStream) -> bool {
    let mut byte = [0];
    matches!(connection.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

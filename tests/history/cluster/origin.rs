//! Which process is at the other end of a connection of this machine.

use std::fs;
use std::net::SocketAddr;

/// The place among `processes` of the one that has opened the connection from `peer`. None if it was none of them.
pub fn which(peer: SocketAddr, processes: &[u32]) -> Option<usize> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = inode_of(&table, peer.port())?;
    let socket = format!("socket:[{inode}]");
    processes.iter().position(|process| has_open(*process, &socket))
}

/// The number of the socket with this local port that is connected.
fn inode_of(table: &str, port: u16) -> Option<&str> {
    const ESTABLISHED: &str = "01";
    let local = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let is_it = fields.get(1)?.ends_with(&local) && *fields.get(3)? == ESTABLISHED;
        is_it.then(|| fields.get(9).copied()).flatten()
    })
}

fn has_open(process: u32, socket: &str) -> bool {
    let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    files.filter_map(|file| fs::read_link(file.path()).ok()).any(|target| target.as_os_str() == socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn we_are_at_the_other_end_of_our_own_connection() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let peer = client.local_addr().unwrap();
        let us = std::process::id();
        assert_eq!(which(peer, &[0, 1, us]), Some(2));
        drop(client);
    }
}

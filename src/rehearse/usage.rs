//! What the server and its `mongod` use, read from `/proc` if they run on this machine.

use std::fs;

use serde::Serialize;

/// The ids of the measured processes.
#[derive(Debug, Clone, Default)]
pub struct Processes {
    pub server: Option<u32>,
    pub mongod: Option<u32>,
}

/// What a process has used since its start.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    cpu_microseconds: u64,
    memory_peak_kibibytes: u64,
}

/// What a process has used for the rehearsal.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    pub cpu_microseconds: u64,
    /// The peak since the start of the process, not of the rehearsal.
    pub memory_peak_kibibytes: u64,
}

/// One value for each process, if known.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Pair<T> {
    pub server: Option<T>,
    pub mongod: Option<T>,
}

impl Processes {
    pub fn usage(&self) -> Pair<Usage> {
        Pair { server: self.server.and_then(read), mongod: self.mongod.and_then(read) }
    }

    /// The process on this machine that listens on `port`.
    pub fn listener(port: u16) -> Option<u32> {
        let wanted = format!(":{port:04X}");
        let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .filter_map(|path| fs::read_to_string(path).ok())
            .flat_map(|table| table.lines().filter_map(|line| listening(line, &wanted)).collect::<Vec<_>>())
            .map(|inode| format!("socket:[{inode}]"))
            .collect();
        let processes = fs::read_dir("/proc").ok()?.flatten();
        processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).find(|process| {
            let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
            files
                .filter_map(|file| fs::read_link(file.path()).ok())
                .any(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
        })
    }
}

/// The inode of a listening socket, from a line of the kernel's table (proc(5)).
fn listening(line: &str, port: &str) -> Option<String> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let is_listening = fields.get(3) == Some(&"0A");
    (is_listening && fields.get(1)?.ends_with(port))
        .then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
}

/// What was used between two readings.
pub fn difference(before: Pair<Usage>, after: Pair<Usage>) -> Pair<Cost> {
    let cost = |before: Option<Usage>, after: Option<Usage>| {
        Some(Cost {
            cpu_microseconds: after?.cpu_microseconds.saturating_sub(before?.cpu_microseconds),
            memory_peak_kibibytes: after?.memory_peak_kibibytes,
        })
    };
    Pair { server: cost(before.server, after.server), mongod: cost(before.mongod, after.mongod) }
}

fn read(process: u32) -> Option<Usage> {
    // Counted from behind the name, which may contain blanks, fields 14 and 15 of proc(5) are the 12th and 13th.
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(Usage {
        cpu_microseconds: ticks * 1_000_000 / rustix::param::clock_ticks_per_second(),
        memory_peak_kibibytes: peak.trim().trim_end_matches("kB").trim().parse().ok()?,
    })
}

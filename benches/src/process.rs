//! What the operating system knows of processes: their memory.

use std::fs;

/// The memory that a process holds now, in KiB; none when there is no such process on this machine.
pub fn resident_kibibytes(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    resident.trim().trim_end_matches("kB").trim().parse().ok()
}

//! The memory of processes, from the operating system.

use std::fs;

/// The resident memory of a process in KiB; `None` if there is no such process on this machine.
pub fn resident_kibibytes(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    resident.trim().trim_end_matches("kB").trim().parse().ok()
}

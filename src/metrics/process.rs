//! The process as the operating system sees it, under the names that Prometheus' own clients use. Linux only: elsewhere
//! these metrics are missing.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Reads the process anew each time.
#[derive(Debug)]
pub struct ProcessMetrics;

struct Usage {
    cpu_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    threads: u64,
    open_files: u64,
    open_files_max: Option<u64>,
    /// Unix time, in seconds.
    start: f64,
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Some(usage) = Usage::read() else { return Ok(()) };
        let (name, help) = ("process_cpu", "Processor time that the process has used.");
        let cpu = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Counter)?;
        ConstCounter::new(usage.cpu_seconds).encode(cpu)?;
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: f64| {
            ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)
        };
        let (bytes, seconds) = (Some(&Unit::Bytes), Some(&Unit::Seconds));
        let what = "Memory that the process has in RAM.";
        gauge("process_resident_memory", what, bytes, usage.resident_bytes as f64)?;
        let what = "Address space of the process.";
        gauge("process_virtual_memory", what, bytes, usage.virtual_bytes as f64)?;
        gauge("process_threads", "Threads of the process.", None, usage.threads as f64)?;
        let what = "Open files and connections.";
        gauge("process_open_fds", what, None, usage.open_files as f64)?;
        if let Some(files_max) = usage.open_files_max {
            let what = "Open files and connections that the system allows.";
            gauge("process_max_fds", what, None, files_max as f64)?;
        }
        let what = "Unix time at which the process started.";
        gauge("process_start_time", what, seconds, usage.start)
    }
}

#[cfg(target_os = "linux")]
impl Usage {
    fn read() -> Option<Self> {
        use rustix::process::{Resource, getrlimit};
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The program's name is in parentheses and may contain anything; the fields after it are numbered from 3.
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let system = fs::read_to_string("/proc/stat").ok()?;
        let boot = system.lines().find_map(|line| line.strip_prefix("btime "))?.parse::<u64>().ok()?;
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) as f64 / ticks,
            threads: field(20)?,
            start: boot as f64 + field(22)? as f64 / ticks,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * rustix::param::page_size() as u64,
            open_files: open_files()?,
            open_files_max: getrlimit(Resource::Nofile).current,
        })
    }
}

#[cfg(not(target_os = "linux"))]
impl Usage {
    fn read() -> Option<Self> {
        None
    }
}

/// Linux from 6.2 on has the number as the size of the directory; listing it takes milliseconds with many connections.
#[cfg(target_os = "linux")]
fn open_files() -> Option<u64> {
    let directory = "/proc/self/fd";
    match fs::metadata(directory).ok()?.len() {
        // One of those listed is the directory itself.
        0 => Some((fs::read_dir(directory).ok()?.count() as u64).saturating_sub(1)),
        files => Some(files),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn the_system_tells_of_this_process() {
        let before = Usage::read().unwrap();
        let files: Vec<_> = (0..10).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        let after = Usage::read().unwrap();
        // Other tests of this process open and close files, too.
        assert!(after.open_files >= files.len() as u64, "{}", after.open_files);
        assert!(after.open_files <= after.open_files_max.unwrap());
        assert!((1_000_000..before.virtual_bytes).contains(&before.resident_bytes));
        assert!(before.threads >= 1 && after.cpu_seconds >= before.cpu_seconds);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - after.start;
        assert!((-1.0..Duration::from_secs(86_400).as_secs_f64()).contains(&age), "{age}");
    }
}

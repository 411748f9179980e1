//! Statistics of this process from the kernel.

use super::exposition::Families;
use nix::sys::resource::{Resource, getrlimit};
use nix::time::{ClockId, clock_gettime};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;
use sandpiper_domain::Timestamp;
use serde::Serialize;
use std::time::Duration;
use std::{fmt, fs};
use utoipa::ToSchema;

/// Megabytes, as numbers. The names after `rss` are those of the system that this service replaces.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Memory)]
pub(super) struct MemoryView {
    /// Resident memory.
    rss: f64,
    /// Highest resident memory so far.
    peak_rss: f64,
    /// Private writable memory, resident or not.
    heap_total: f64,
    /// Private writable memory that is resident.
    heap_used: f64,
    /// Resident memory that is shared or backed by files.
    external: f64,
    /// Always `MB`.
    units: &'static str,
}

/// Reads `/proc/self/status`. Every number is zero if the file cannot be read.
pub(super) fn memory() -> MemoryView {
    let status = Status::read();
    #[allow(clippy::cast_precision_loss)] // exact for eight exabytes
    let kibibytes = |key: &str| status.number(key) as f64;
    let megabytes = |kibibytes: f64| (kibibytes * 1024.0 / 10_000.0).round() / 100.0;
    MemoryView {
        rss: megabytes(kibibytes("VmRSS")),
        peak_rss: megabytes(kibibytes("VmHWM")),
        heap_total: megabytes(kibibytes("VmData")),
        heap_used: megabytes(kibibytes("RssAnon")),
        external: megabytes(kibibytes("RssFile") + kibibytes("RssShmem")),
        units: "MB",
    }
}

/// Writes the standard metrics of a process. They cover this process only: zygotes and job processes are processes of
/// their own.
pub(super) fn write(family: &mut Families<'_, '_>, started_at: Timestamp) -> fmt::Result {
    let status = Status::read();
    let cpu = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from);
    family.one(
        "process_cpu",
        "Processor time of this process",
        Some(&Unit::Seconds),
        ConstCounter::new(cpu.unwrap_or_default().as_secs_f64()),
    )?;
    let resident = status.bytes("VmRSS");
    family.bytes("process_resident_memory", "Resident memory", resident)?;
    let size = status.bytes("VmSize");
    family.bytes("process_virtual_memory", "Size of the address space", size)?;
    let descriptors = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    family.gauge("process_open_fds", "Open descriptors", descriptors)?;
    let (most, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    family.gauge("process_max_fds", "Maximum open descriptors", most)?;
    let threads = usize::try_from(status.number("Threads")).unwrap_or_default();
    family.gauge("process_threads", "Threads", threads)?;
    let started = Duration::from_millis(started_at.as_unix_millis());
    family.seconds(
        "process_start_time",
        "Start time of the process, since 1970",
        started.as_secs_f64(),
    )
}

/// The text of `/proc/self/status`.
struct Status(String);

impl Status {
    /// Reads the file. The text is empty if the file cannot be read.
    fn read() -> Self {
        Self(fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    /// Returns the number of this line, or zero if there is no such line.
    fn number(&self, key: &str) -> u64 {
        let lines = self.0.lines();
        lines
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
            .find_map(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or_default()
    }

    fn bytes(&self, key: &str) -> u64 {
        self.number(key) * 1024
    }
}

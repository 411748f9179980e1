//! The kernel's statistics of this process.

use crate::metrics::Families;
use nix::sys::resource::{Resource, getrlimit};
use nix::time::{ClockId, clock_gettime};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;
use std::time::Duration;
use std::{fmt, fs};

/// Writes the `process_*` metrics, whose names are the same for every program. `started` is the time from 1970 to the
/// start of the process.
///
/// The numbers are those of this process alone, without its children.
///
/// # Errors
///
/// The encoder fails.
pub fn write(family: &mut Families<'_, '_>, started: Duration) -> fmt::Result {
    let status = ProcessStatus::read();
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
    family.gauge("process_open_fds", "Open file descriptors", descriptors)?;
    let (most, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    family.gauge("process_max_fds", "Maximum open file descriptors", most)?;
    let threads = usize::try_from(status.number("Threads")).unwrap_or_default();
    family.gauge("process_threads", "Threads", threads)?;
    family.seconds(
        "process_start_time",
        "Start time of the process, since 1970",
        started.as_secs_f64(),
    )
}

/// The content of `/proc/self/status`.
#[derive(Debug)]
pub struct ProcessStatus(String);

impl ProcessStatus {
    /// Reads the file; empty if it cannot be read.
    #[must_use]
    pub fn read() -> Self {
        Self(fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    /// Returns the number of a line, such as `VmRSS`, in the unit of the file; zero if there is no such line.
    #[must_use]
    pub fn number(&self, key: &str) -> u64 {
        let lines = self.0.lines();
        lines
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
            .find_map(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or_default()
    }

    /// Returns the number of a line in kibibytes, as bytes.
    #[must_use]
    pub fn bytes(&self, key: &str) -> u64 {
        self.number(key) * 1024
    }
}

//! The kernel's statistics of this process.

use crate::metrics::Families;
use nix::sys::resource::{Resource, getrlimit};
use nix::time::{ClockId, clock_gettime};
use procfs::process::Process;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;
use std::fmt;
use std::time::Duration;

/// Writes the `process_*` metrics, whose names are the same for every program. `started` is the time from 1970 to the
/// start of the process.
///
/// The numbers are those of this process alone, without its children.
pub fn write(family: &mut Families<'_, '_>, started: Duration) -> fmt::Result {
    let process = Process::myself().ok();
    let status = process.as_ref().and_then(|process| process.status().ok());
    let bytes = |kibibytes: Option<u64>| kibibytes.unwrap_or_default() * 1024;
    let cpu = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from);
    family.one(
        "process_cpu",
        "Processor time of this process",
        Some(&Unit::Seconds),
        ConstCounter::new(cpu.unwrap_or_default().as_secs_f64()),
    )?;
    let resident = bytes(status.as_ref().and_then(|status| status.vmrss));
    family.bytes("process_resident_memory", "Resident memory", resident)?;
    let size = bytes(status.as_ref().and_then(|status| status.vmsize));
    family.bytes("process_virtual_memory", "Size of the address space", size)?;
    let descriptors = process.and_then(|process| process.fd_count().ok());
    let descriptors = descriptors.unwrap_or_default();
    family.gauge("process_open_fds", "Open file descriptors", descriptors)?;
    let (most, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    family.gauge("process_max_fds", "Maximum open file descriptors", most)?;
    let threads = status.and_then(|status| usize::try_from(status.threads).ok());
    let threads = threads.unwrap_or_default();
    family.gauge("process_threads", "Threads", threads)?;
    family.seconds(
        "process_start_time",
        "Start time of the process, since 1970",
        started.as_secs_f64(),
    )
}

//! The metrics that every process has, under the names that are the same everywhere.

use super::exposition::Families;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fmt, fs};

/// When this was first asked for, which is when the process started.
pub(crate) fn started() -> Duration {
    static STARTED: OnceLock<Duration> = OnceLock::new();
    *STARTED.get_or_init(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
    })
}

pub(super) fn write(family: &mut Families<'_, '_>) -> fmt::Result {
    let cpu = getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| {
        let seconds = |time: nix::sys::time::TimeVal| {
            let whole = u64::try_from(time.tv_sec()).unwrap_or_default();
            let micros = u64::try_from(time.tv_usec()).unwrap_or_default();
            (Duration::from_secs(whole) + Duration::from_micros(micros)).as_secs_f64()
        };
        seconds(usage.user_time()) + seconds(usage.system_time())
    });
    let unit = Some(&Unit::Seconds);
    family.one(
        "process_cpu",
        "Processor time",
        unit,
        ConstCounter::new(cpu),
    )?;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let number = |key: &str| -> u64 {
        status
            .lines()
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
            .find_map(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or_default()
    };
    for (name, help, key) in [
        ("process_resident_memory", "Resident memory", "VmRSS"),
        (
            "process_virtual_memory",
            "Size of the address space",
            "VmSize",
        ),
    ] {
        let bytes = ConstGauge::new(number(key) * 1024);
        family.one(name, help, Some(&Unit::Bytes), bytes)?;
    }
    let descriptors = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    family.gauge("process_open_fds", "Open descriptors", descriptors)?;
    let (most, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    family.gauge("process_max_fds", "Most descriptors that may be open", most)?;
    let threads = usize::try_from(number("Threads")).unwrap_or_default();
    family.gauge("process_threads", "Threads", threads)?;
    let started = ConstGauge::new(started().as_secs_f64());
    let help = "When the process started, since 1970";
    family.one("process_start_time", help, unit, started)
}

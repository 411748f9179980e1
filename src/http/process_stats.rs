//! What the kernel says of this process's memory.

use serde::Serialize;
use std::fs;
use utoipa::ToSchema;

/// Megabytes, as numbers. The names after `rss` are those of the system this one replaces.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MemoryView {
    /// Resident, all in all.
    rss: f64,
    /// Most ever resident.
    peak_rss: f64,
    /// Private and writable, resident or not.
    heap_total: f64,
    /// Private and writable, resident.
    heap_used: f64,
    /// Resident and backed by files or shared.
    external: f64,
    /// `MB`.
    units: &'static str,
}

/// Reads `/proc/self/status`; zeroes where it cannot be read.
pub(super) fn memory() -> MemoryView {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kibibytes = |key: &str| -> f64 {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or(0.0)
    };
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

//! The memory of this process, for `GET /api/health`.

use procfs::process::{Process, Status};
use serde::Serialize;
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
    let status = Process::myself().and_then(|process| process.status()).ok();
    #[allow(clippy::cast_precision_loss)] // exact for eight exabytes
    let kibibytes = |number: fn(&Status) -> Option<u64>| {
        status.as_ref().and_then(number).unwrap_or_default() as f64
    };
    let megabytes = |kibibytes: f64| (kibibytes * 1024.0 / 10_000.0).round() / 100.0;
    MemoryView {
        rss: megabytes(kibibytes(|status| status.vmrss)),
        peak_rss: megabytes(kibibytes(|status| status.vmhwm)),
        heap_total: megabytes(kibibytes(|status| status.vmdata)),
        heap_used: megabytes(kibibytes(|status| status.rssanon)),
        external: megabytes(
            kibibytes(|status| status.rssfile) + kibibytes(|status| status.rssshmem),
        ),
        units: "MB",
    }
}

//! The metrics as OpenMetrics text.

use super::{FAILURES, KINDS, LIMITS, Meters, SOURCES, STATUSES};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use sandpiper_http_kit::counters::{Counter, Distribution, Histogram};
use sandpiper_http_kit::metrics::Families;
use sandpiper_http_kit::{late_heads, process};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The lowest bound of the exported histograms, seconds.
const LOWEST_BOUND: f64 = 0.000_25;

#[derive(Debug)]
pub(crate) struct Snapshot {
    pub meters: Arc<Meters>,
    /// Clients in the tables of quotas, counted once for each class.
    pub clients: usize,
    pub keys: usize,
    /// Time from 1970 to the start of the process.
    pub started: Duration,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = Families::new(&mut encoder);
        self.requests(&mut family)?;
        self.rejections(&mut family)?;
        self.upstream(&mut family)?;
        self.sources(&mut family)?;
        let version = [("version", env!("CARGO_PKG_VERSION").to_owned())];
        family.info("sandpiper_ingress_build", "Version of the ingress", version)?;
        process::write(&mut family, self.started)
    }
}

impl Snapshot {
    fn requests(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let meters = &self.meters;
        let statuses = STATUSES.map(|status| match status {
            0 => "other".to_owned(),
            status => status.to_string(),
        });
        let by_kind = KINDS.into_iter().zip(&meters.requests);
        let counts = by_kind.flat_map(|(kind, counts)| {
            let by_status = statuses.iter().zip(counts);
            by_status.map(move |(status, count)| {
                ([("kind", kind), ("status", status.as_str())], count.get())
            })
        });
        family.counters_by(
            "sandpiper_ingress_requests",
            "Completed requests, by kind and status",
            counts.filter(|(_, count)| *count > 0),
        )?;
        family.times(
            "sandpiper_ingress_request_duration",
            "Time from the head of a request to the head of its response",
            KINDS
                .into_iter()
                .zip(&meters.times)
                .map(|(kind, times)| ([("kind", kind)], distribution(times))),
        )?;
        let in_flight = meters.in_flight.load(Ordering::Relaxed);
        let help = "Open requests";
        family.gauge("sandpiper_ingress_requests_in_flight", help, in_flight)?;
        family.counter(
            "sandpiper_ingress_requests_abandoned",
            "Requests whose client disconnected before the response",
            meters.abandoned.get(),
        )
    }

    fn rejections(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let meters = &self.meters;
        family.counters(
            "sandpiper_ingress_refused",
            "Requests rejected by a limit",
            "limit",
            LIMITS
                .into_iter()
                .zip(meters.rejected.iter().map(Counter::get)),
        )?;
        family.counter(
            "sandpiper_ingress_connections_refused",
            "Connections closed because their client had its maximum open",
            meters.connections_rejected.get(),
        )?;
        family.counter(
            "sandpiper_ingress_heads_late",
            "Request heads that began and were not complete in time, on every port",
            late_heads(),
        )?;
        family.gauge(
            "sandpiper_ingress_clients",
            "Clients in the tables of quotas, counted once for each class",
            self.clients,
        )?;
        family.gauge("sandpiper_ingress_keys", "Valid API keys", self.keys)?;
        family.counters(
            "sandpiper_ingress_keys_reloads",
            "Reloads of the keys file, by result",
            "result",
            [
                ("taken", meters.keys_read.get()),
                ("unfit", meters.keys_invalid.get()),
            ],
        )?;
        family.counters(
            "sandpiper_ingress_key_uses_writes",
            "Writes of the times at which keys were last used, by result",
            "result",
            [
                ("written", meters.uses_written.get()),
                ("failed", meters.uses_failed.get()),
            ],
        )?;
        family.counters(
            "sandpiper_ingress_audit_lines",
            "Lines of the audit log, by fate",
            "fate",
            [
                ("written", meters.audit_written.get()),
                ("dropped", meters.audit_dropped.get()),
                ("failed", meters.audit_failed.get()),
            ],
        )
    }

    fn upstream(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let meters = &self.meters;
        family.time(
            "sandpiper_ingress_upstream_duration",
            "Time from forwarding a request to the head of the service's response",
            &distribution(&meters.upstream),
        )?;
        family.counters(
            "sandpiper_ingress_upstream_failures",
            "Requests that the service did not respond to, by reason",
            "reason",
            FAILURES
                .into_iter()
                .zip(meters.upstream_failures.iter().map(Counter::get)),
        )?;
        let up = usize::from(meters.upstream_lost.load(Ordering::Relaxed) == 0);
        family.gauge(
            "sandpiper_ingress_upstream_up",
            "1 if the last forwarded request reached the service, else 0",
            up,
        )
    }

    fn sources(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let meters = &self.meters;
        family.counters(
            "sandpiper_ingress_sources",
            "Scripts that requests referenced, by outcome of the fetch",
            "outcome",
            SOURCES
                .into_iter()
                .zip(meters.sources.iter().map(Counter::get)),
        )?;
        family.time(
            "sandpiper_ingress_source_duration",
            "Time to fetch a referenced script, or to fail",
            &distribution(&meters.source),
        )
    }
}

/// Returns the exported distribution of a histogram. Shorter durations than [`LOWEST_BOUND`] share its bucket.
fn distribution(times: &Histogram) -> Distribution {
    times.distribution().with_lowest_bound(LOWEST_BOUND)
}

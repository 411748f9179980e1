//! The metrics as OpenMetrics text.

use super::{BOUNDS_MICROS, FAILURES, Histogram, KINDS, LIMITS, Meters, STATUSES, process};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The metrics at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The counters.
    pub meters: Arc<Meters>,
    /// Clients in the tables of quotas, counted once for each class.
    pub clients: usize,
    /// Valid keys.
    pub keys: usize,
}

/// Encodes a snapshot as OpenMetrics text.
pub(crate) fn encode(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = Families(&mut encoder);
        self.requests(&mut family)?;
        self.rejections(&mut family)?;
        self.upstream(&mut family)?;
        self.sources(&mut family)?;
        let version = ("version", env!("CARGO_PKG_VERSION").to_owned());
        let build = Info::new(vec![version]);
        family.one(
            "sandpiper_ingress_build",
            "Version of the ingress",
            None,
            build,
        )?;
        process::write(&mut family)
    }
}

impl Snapshot {
    fn requests(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let meters = &self.meters;
        let help = "Completed requests, by kind and status";
        let mut requests = family.begin(
            "sandpiper_ingress_requests",
            help,
            None,
            MetricType::Counter,
        )?;
        for (kind, counts) in KINDS.into_iter().zip(&meters.requests) {
            for (status, count) in STATUSES.into_iter().zip(counts) {
                let count = count.get();
                if count == 0 {
                    continue;
                }
                let status = match status {
                    0 => "other".to_owned(),
                    status => status.to_string(),
                };
                let labels = [("kind", kind), ("status", status.as_str())];
                ConstCounter::new(count).encode(requests.encode_family(&labels)?)?;
            }
        }
        let help = "Time from the head of a request to the head of its response";
        let mut times = family.begin(
            "sandpiper_ingress_request_duration",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for (kind, kind_times) in KINDS.into_iter().zip(&meters.times) {
            kind_times.write(times.encode_family(&[("kind", kind)])?)?;
        }
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
                .zip(meters.rejected.iter().map(super::Counter::get)),
        )?;
        family.counter(
            "sandpiper_ingress_connections_refused",
            "Connections closed because their client had its maximum open",
            meters.connections_rejected.get(),
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
        )
    }

    fn upstream(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let meters = &self.meters;
        let help = "Time from forwarding a request to the head of the service's response";
        let times = family.begin(
            "sandpiper_ingress_upstream_duration",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        meters.upstream.write(times)?;
        family.counters(
            "sandpiper_ingress_upstream_failures",
            "Requests that the service did not respond to, by reason",
            "reason",
            FAILURES
                .into_iter()
                .zip(meters.upstream_failures.iter().map(super::Counter::get)),
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
            meters.source_outcomes.all(),
        )?;
        let help = "Time to fetch a referenced script, or to fail";
        let times = family.begin(
            "sandpiper_ingress_source_duration",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        meters.source.write(times)
    }
}

impl Histogram {
    fn write(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        #[allow(clippy::cast_precision_loss)] // exact for 285 years
        let seconds = |micros: u64| micros as f64 / 1e6;
        let bounds = BOUNDS_MICROS.into_iter().map(seconds);
        let counts = self.counts.iter();
        let buckets: Vec<(f64, u64)> = bounds
            .chain([f64::INFINITY])
            .zip(counts.map(|count| count.load(Ordering::Relaxed)))
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = seconds(self.sum_micros.load(Ordering::Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

/// A writer of metric families. Names are given without their unit and without `_total`, which the encoder adds.
pub(super) struct Families<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl Families<'_, '_> {
    fn begin<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
        metric_type: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, unit, metric_type)
    }

    pub(super) fn one(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        number: impl EncodeMetric,
    ) -> fmt::Result {
        let metric_type = number.metric_type();
        number.encode(self.begin(name, help, unit, metric_type)?)
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        self.one(name, help, None, ConstCounter::new(count))
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, number: usize) -> fmt::Result {
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        self.one(name, help, None, ConstGauge::new(number))
    }

    fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        label: &'l str,
        values: impl IntoIterator<Item = (&'l str, u64)>,
    ) -> fmt::Result
    where
        [(&'l str, &'l str); 1]: EncodeLabelSet,
    {
        let mut family = self.begin(name, help, None, MetricType::Counter)?;
        for (value, count) in values {
            ConstCounter::new(count).encode(family.encode_family(&[(label, value)])?)?;
        }
        Ok(())
    }
}

//! `GET /metrics` on the port of metrics: the text that Prometheus reads.

use super::{BOUNDS_MICROS, FAILURES, Histogram, KINDS, LIMITS, STATUSES, process};
use crate::browser;
use crate::door::Door;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::atomic::Ordering;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is counted.
pub(crate) async fn show(door: Data<Door>, request: HttpRequest) -> HttpResponse {
    if let Err(problem) = browser::check_host(&door, request.uri(), request.headers(), false) {
        return problem.into_response();
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(door)));
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => HttpResponse::Ok().content_type(CONTENT_TYPE).body(text),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            HttpResponse::InternalServerError().finish()
        }
    }
}

/// The ingress at one moment.
#[derive(Debug)]
struct Snapshot(Data<Door>);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = Families(&mut encoder);
        self.requests(&mut family)?;
        self.refusals(&mut family)?;
        self.upstream(&mut family)?;
        self.sources(&mut family)?;
        let version = ("version", env!("CARGO_PKG_VERSION").to_owned());
        let build = Info::new(vec![version]);
        family.one("sandpiper_ingress_build", "What runs here", None, build)?;
        process::write(&mut family)
    }
}

impl Snapshot {
    fn requests(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let meters = &self.0.meters;
        let help = "Requests that were answered, by what they were for and status";
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
        let help = "From a request's head to the head of its answer";
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
        let help = "Requests that are not answered yet";
        family.gauge("sandpiper_ingress_requests_in_flight", help, in_flight)?;
        family.counter(
            "sandpiper_ingress_requests_abandoned",
            "Requests whose client went away before the answer",
            meters.abandoned.get(),
        )
    }

    fn refusals(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let (door, meters) = (&self.0, &self.0.meters);
        family.counters(
            "sandpiper_ingress_refused",
            "Requests that were one too many, by the limit that said so",
            "limit",
            LIMITS
                .into_iter()
                .zip(meters.refused.iter().map(super::Counter::get)),
        )?;
        family.counter(
            "sandpiper_ingress_connections_refused",
            "Connections closed because their client had as many as it may",
            meters.connections_refused.get(),
        )?;
        family.gauge(
            "sandpiper_ingress_clients",
            "Clients whose quotas are remembered, counted once for each class",
            door.limits.clients(),
        )?;
        let keys = door.keys.as_ref().map_or(0, |keys| keys.len());
        family.gauge("sandpiper_ingress_keys", "Keys that count", keys)?;
        family.counters(
            "sandpiper_ingress_keys_reloads",
            "Times that the file of keys had changed, by what came of it",
            "result",
            [
                ("taken", meters.keys_read.get()),
                ("unfit", meters.keys_unfit.get()),
            ],
        )
    }

    fn upstream(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let meters = &self.0.meters;
        let help = "From passing a request on to the head of the service's answer";
        let times = family.begin(
            "sandpiper_ingress_upstream_duration",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        meters.upstream.write(times)?;
        family.counters(
            "sandpiper_ingress_upstream_failures",
            "Requests that the service did not answer, by why",
            "reason",
            FAILURES
                .into_iter()
                .zip(meters.upstream_failures.iter().map(super::Counter::get)),
        )?;
        let up = usize::from(meters.upstream_lost.load(Ordering::Relaxed) == 0);
        family.gauge(
            "sandpiper_ingress_upstream_up",
            "Whether the last request that was passed on reached the service",
            up,
        )
    }

    fn sources(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let meters = &self.0.meters;
        family.counters(
            "sandpiper_ingress_sources",
            "Scripts that requests only named, by what came of looking for them",
            "outcome",
            meters.source_ends.all(),
        )?;
        let help = "How long it took until such a script was here, or was not to be had";
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

/// Writes one family after the other. A name comes without its unit and without `_total`, which are added.
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

//! `GET /metrics`, for Prometheus. The ingress does not hand it on.

use crate::actors::answers::{Nodes, ServiceStatus};
use crate::http::Api;
use actix_web::HttpResponse;
use actix_web::web::Data;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::time::Duration;

/// Longest that a scrape waits for the store.
const STORE_WITHIN: Duration = Duration::from_secs(2);
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is counted.
pub(super) async fn show(api: Data<Api>) -> HttpResponse {
    let asked = tokio::time::timeout(STORE_WITHIN, api.dispatcher.nodes()).await;
    let snapshot = Snapshot {
        status: api.dispatcher.status(),
        streams: api.streams.open(),
        nodes: asked.ok().and_then(Result::ok),
    };
    let mut registry = Registry::with_prefix("sandpiper");
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => HttpResponse::Ok().content_type(CONTENT_TYPE).body(text),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            HttpResponse::InternalServerError().finish()
        }
    }
}

/// The service at one moment.
#[derive(Debug)]
struct Snapshot {
    status: ServiceStatus,
    streams: usize,
    /// `None` where the store does not answer.
    nodes: Option<Nodes>,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let status = &self.status;
        let mut family = Families(&mut encoder);
        let outcomes = status
            .executions
            .iter()
            .map(|(outcome, count)| ("outcome", outcome.as_str(), *count));
        family.counters("executions", "Executions that ended, by outcome", outcomes)?;
        let lanes = [
            ("lane", "interactive", status.queued_interactive),
            ("lane", "background", status.queued_background),
        ];
        family.gauges("queue_jobs", "Jobs that wait for an executor here", lanes)?;
        let executors = [
            ("state", "all", status.executors),
            ("state", "ready", status.executors_ready),
            ("state", "busy", status.executors_busy),
        ];
        family.gauges(
            "executors",
            "Executors: all, with a living zygote, at work",
            executors,
        )?;
        for (name, help, count) in [
            (
                "executors_revived",
                "Executors brought back after a panic",
                status.executors_revived,
            ),
            (
                "zygotes_replaced",
                "Zygotes replaced because they or a child of theirs died",
                status.zygotes_replaced,
            ),
            (
                "executions_killed",
                "Executions that only SIGKILL ended at their limit",
                status.executions_killed,
            ),
            (
                "jobs_rescued",
                "Jobs taken from nodes that died",
                status.jobs.rescued,
            ),
            (
                "jobs_lost",
                "Jobs given up because nothing could run them",
                status.jobs.lost,
            ),
            (
                "jobs_given_back",
                "Jobs given back unrun to the database",
                status.jobs.given_back,
            ),
            (
                "finishes_stale",
                "Ends of jobs that came too late and were refused",
                status.jobs.stale,
            ),
            (
                "store_failures",
                "Times that the store did not do what it was asked",
                status.jobs.failures,
            ),
        ] {
            family.counter(name, help, count)?;
        }
        family.gauge(
            "event_streams",
            "Streams of events that are open",
            as_u64(self.streams),
            None,
        )?;
        family.gauge(
            "store_up",
            "Whether the store answers",
            u64::from(self.nodes.is_some()),
            None,
        )?;
        if let Some(nodes) = &self.nodes {
            family.gauge(
                "nodes",
                "Nodes of this store that live",
                as_u64(nodes.nodes.len()),
                None,
            )?;
            let oldest = nodes.oldest_queued.unwrap_or_default().as_secs_f64();
            family.gauge(
                "oldest_queued_age",
                "How long the job of the database has waited that has waited longest",
                oldest,
                Some(&Unit::Seconds),
            )?;
        }
        Ok(())
    }
}

/// Writes one family after the other.
struct Families<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl Families<'_, '_> {
    fn counter(&mut self, name: &str, help: &str, count: u64) -> Result<(), fmt::Error> {
        let counter = ConstCounter::new(count);
        let metric = self
            .0
            .encode_descriptor(name, help, None, counter.metric_type())?;
        counter.encode(metric)
    }

    fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        each: impl IntoIterator<Item = (&'l str, &'l str, u64)>,
    ) -> Result<(), fmt::Error> {
        let metric_type = ConstCounter::new(0_u64).metric_type();
        let mut family = self.0.encode_descriptor(name, help, None, metric_type)?;
        for (label, value, count) in each {
            let labels = [(label, value)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        each: impl IntoIterator<Item = (&'l str, &'l str, usize)>,
    ) -> Result<(), fmt::Error> {
        let metric_type = ConstGauge::new(0_u64).metric_type();
        let mut family = self.0.encode_descriptor(name, help, None, metric_type)?;
        for (label, value, count) in each {
            let labels = [(label, value)];
            ConstGauge::new(as_u64(count)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauge<Number>(
        &mut self,
        name: &str,
        help: &str,
        number: Number,
        unit: Option<&Unit>,
    ) -> Result<(), fmt::Error>
    where
        ConstGauge<Number>: EncodeMetric,
    {
        let gauge = ConstGauge::new(number);
        let metric = self
            .0
            .encode_descriptor(name, help, unit, gauge.metric_type())?;
        gauge.encode(metric)
    }
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

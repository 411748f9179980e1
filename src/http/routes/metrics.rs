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
            .map(|(outcome, count)| (outcome.as_str(), *count));
        let help = "Executions that ended, by outcome";
        family.each("executions", help, ConstCounter::new, "outcome", outcomes)?;
        let lanes = [
            ("interactive", as_u64(status.queued_interactive)),
            ("background", as_u64(status.queued_background)),
        ];
        let help = "Jobs that wait for an executor here";
        family.each("queue_jobs", help, ConstGauge::new, "lane", lanes)?;
        let executors = [
            ("all", as_u64(status.executors)),
            ("ready", as_u64(status.executors_ready)),
            ("busy", as_u64(status.executors_busy)),
        ];
        let help = "Executors: all, with a living zygote, at work";
        family.each("executors", help, ConstGauge::new, "state", executors)?;
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
            family.one(name, help, None, ConstCounter::new(count))?;
        }
        let streams = ConstGauge::new(as_u64(self.streams));
        family.one(
            "event_streams",
            "Streams of events that are open",
            None,
            streams,
        )?;
        let up = ConstGauge::new(u64::from(self.nodes.is_some()));
        family.one("store_up", "Whether the store answers", None, up)?;
        if let Some(nodes) = &self.nodes {
            let live = ConstGauge::new(as_u64(nodes.nodes.len()));
            family.one("nodes", "Nodes of this store that live", None, live)?;
            let age = nodes.oldest_queued.unwrap_or_default().as_secs_f64();
            let help = "How long the job of the database has waited that has waited longest";
            let unit = Some(&Unit::Seconds);
            family.one("oldest_queued_age", help, unit, ConstGauge::new(age))?;
        }
        Ok(())
    }
}

/// Writes one family after the other.
struct Families<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl Families<'_, '_> {
    /// One number.
    fn one(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        number: impl EncodeMetric,
    ) -> Result<(), fmt::Error> {
        let metric_type = number.metric_type();
        number.encode(self.0.encode_descriptor(name, help, unit, metric_type)?)
    }

    /// One number for each value of a label.
    fn each<'l, Number: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        number: fn(u64) -> Number,
        label: &'l str,
        values: impl IntoIterator<Item = (&'l str, u64)>,
    ) -> Result<(), fmt::Error> {
        let metric_type = number(0).metric_type();
        let mut family = self.0.encode_descriptor(name, help, None, metric_type)?;
        for (value, count) in values {
            number(count).encode(family.encode_family(&[(label, value)])?)?;
        }
        Ok(())
    }
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

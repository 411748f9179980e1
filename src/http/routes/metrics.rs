//! `GET /metrics`, for Prometheus: on the service's port, or on one of its own. The ingress does not hand it on.

use super::not_found;
use crate::actors::answers::{Nodes, ServiceStatus};
use crate::http::Api;
use crate::http::browser::check_host;
use crate::http::exposition::{self, CONTENT_TYPE, Families, as_u64};
use crate::http::problem::Problem;
use crate::http::process_stats;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;
use sandpiper_domain::{ENGINE, Lane, Limit, Outcome};
use std::fmt;
use std::time::Duration;

/// Longest that a scrape waits for the store.
const STORE_WITHIN: Duration = Duration::from_secs(2);

/// Everything that is counted, unless that stands on a port of its own.
pub(super) async fn show_beside(api: Data<Api>) -> Result<HttpResponse, Problem> {
    if api.metrics_apart {
        return not_found().await;
    }
    Ok(show(api).await)
}

/// Everything that is counted, on a port of its own, which holds requests to the same hosts.
pub(super) async fn show_apart(
    api: Data<Api>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_host(&api, request.uri(), request.headers())?;
    Ok(show(api).await)
}

/// Everything that is counted.
async fn show(api: Data<Api>) -> HttpResponse {
    let asked = tokio::time::timeout(STORE_WITHIN, api.dispatcher.nodes()).await;
    let snapshot = Snapshot {
        status: api.dispatcher.status(),
        nodes: asked.ok().and_then(Result::ok),
        api,
    };
    match exposition::text(snapshot) {
        Ok(text) => HttpResponse::Ok().content_type(CONTENT_TYPE).body(text),
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
    /// `None` where the store does not answer.
    nodes: Option<Nodes>,
    api: Data<Api>,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family = Families(&mut encoder);
        self.executions(&mut family)?;
        self.queue(&mut family)?;
        self.executors(&mut family)?;
        self.jobs(&mut family)?;
        self.store(&mut family)?;
        self.http(&mut family)?;
        self.process(&mut family)
    }
}

impl Snapshot {
    fn outcome(&self, outcome: Outcome) -> u64 {
        let counts = &self.status.executions;
        let found = counts.iter().find(|(counted, _)| *counted == outcome);
        found.map_or(0, |(_, count)| *count)
    }

    fn executions(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let (status, meters) = (&self.status, self.api.dispatcher.meters());
        let outcomes = status.executions.iter();
        family.counters(
            "sandpiper_executions",
            "Executions that ended, by outcome",
            "outcome",
            outcomes.map(|(outcome, count)| (outcome.as_str(), *count)),
        )?;
        let limit_of = |limit: Limit| {
            let outcomes = Outcome::ALL.into_iter();
            let hit = outcomes.filter(|outcome| outcome.limit() == Some(limit));
            (
                limit.as_str(),
                hit.map(|outcome| self.outcome(outcome)).sum(),
            )
        };
        family.counters(
            "sandpiper_limits_hit",
            "Executions that a limit ended, by its name in the API",
            "limit",
            Limit::ALL.map(limit_of),
        )?;
        family.counters(
            "sandpiper_kills",
            "Job processes that ended before their last word, by why",
            "reason",
            [
                ("deadline", status.executions_killed),
                ("cancelled", self.outcome(Outcome::Cancelled)),
                ("crashed", status.executions_crashed),
            ],
        )?;
        family.counter(
            "sandpiper_executions_killed",
            "Executions that only SIGKILL ended at their limit",
            status.executions_killed,
        )?;
        family.time(
            "sandpiper_execution_run",
            "Wall time of executions, from the moment their process has the job",
            &meters.run.distribution(),
        )?;
        #[allow(clippy::cast_precision_loss)] // exact for 285 years
        let cpu = meters.cpu_micros.get() as f64 / 1e6;
        family.one(
            "sandpiper_execution_cpu",
            "Processor time of executions",
            Some(&Unit::Seconds),
            ConstCounter::new(cpu),
        )
    }

    fn queue(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let (status, meters) = (&self.status, self.api.dispatcher.meters());
        family.gauges(
            "sandpiper_queue_jobs",
            "Jobs that wait for an executor here",
            None,
            "lane",
            [
                ("interactive", as_u64(status.queued_interactive)),
                ("background", as_u64(status.queued_background)),
            ],
        )?;
        family.gauges(
            "sandpiper_queue_oldest_age",
            "How long the job has waited here that has waited longest",
            Some(&Unit::Seconds),
            "lane",
            Lane::ALL.map(|lane| (lane.as_str(), meters.oldest_age(lane).as_secs_f64())),
        )?;
        family.times(
            "sandpiper_queue_wait",
            "From the place in the queue to the executor",
            Lane::ALL.map(|lane| {
                let waits = meters.queue_wait.of(lane).distribution();
                ([("lane", lane.as_str())], waits)
            }),
        )?;
        family.counters(
            "sandpiper_queue_refusals",
            "Work that was refused because of the queue, by why",
            "reason",
            [
                (
                    "interactive_full",
                    meters.queue_full.of(Lane::Interactive).get(),
                ),
                (
                    "background_full",
                    meters.queue_full.of(Lane::Background).get(),
                ),
                ("wait_exceeded", meters.queue_wait_exceeded.get()),
            ],
        )
    }

    fn executors(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let status = &self.status;
        let dead = status.executors.saturating_sub(status.executors_ready);
        family.gauges(
            "sandpiper_executors",
            "Executors: all, with a living zygote, without one, at work",
            None,
            "state",
            [
                ("all", as_u64(status.executors)),
                ("ready", as_u64(status.executors_ready)),
                ("dead", as_u64(dead)),
                ("busy", as_u64(status.executors_busy)),
            ],
        )?;
        family.gauges(
            "sandpiper_reserve_executors",
            "Reserve executors: the most there may be, with a living zygote, at work",
            None,
            "state",
            [
                ("all", as_u64(status.reserve_executors)),
                ("up", as_u64(status.reserve_executors_up)),
                ("busy", as_u64(status.reserve_executors_busy)),
            ],
        )?;
        family.counter(
            "sandpiper_reserve_executions",
            "Executions that were given to reserve executors",
            self.api.dispatcher.meters().reserve_executions.get(),
        )?;
        family.counter(
            "sandpiper_executors_revived",
            "Executors brought back after a panic",
            status.executors_revived,
        )?;
        family.counter(
            "sandpiper_zygotes_started",
            "Zygotes started: the first ones, and those in place of dead and of worn ones",
            self.api.dispatcher.meters().zygotes_started.get(),
        )?;
        family.counter(
            "sandpiper_zygotes_replaced",
            "Zygotes replaced because they or a child of theirs died",
            status.zygotes_replaced,
        )
    }

    fn jobs(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let jobs = &self.status.jobs;
        for (name, help, count) in [
            (
                "sandpiper_jobs_rescued",
                "Jobs taken from nodes that died",
                jobs.rescued,
            ),
            (
                "sandpiper_jobs_lost",
                "Jobs given up because nothing could run them",
                jobs.lost,
            ),
            (
                "sandpiper_jobs_given_back",
                "Jobs given back unrun to the database",
                jobs.given_back,
            ),
            (
                "sandpiper_finishes_stale",
                "Ends of jobs that came too late and were refused",
                jobs.stale,
            ),
        ] {
            family.counter(name, help, count)?;
        }
        Ok(())
    }

    fn store(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let operations = &self.api.store;
        family.counter(
            "sandpiper_store_failures",
            "Times that the store did not do what it was asked",
            self.status.jobs.failures,
        )?;
        let counts = &self.status.jobs;
        family.counters(
            "sandpiper_store_refusals",
            "Jobs that were refused because of a bound of the store, by which",
            "reason",
            [
                ("full", counts.refused_full),
                ("client_jobs", counts.refused_client_jobs),
                ("client_bytes", counts.refused_client_bytes),
            ],
        )?;
        family.counter(
            "sandpiper_jobs_put_off",
            "Times that a job did not begin because results that are stored leave no room for more",
            counts.put_off,
        )?;
        family.gauges(
            "sandpiper_store",
            "Bytes of jobs in the store, and the most that there may be",
            Some(&Unit::Bytes),
            "kind",
            [("stored", counts.bytes), ("most", counts.bytes_max)],
        )?;
        let up = usize::from(self.nodes.is_some());
        family.gauge("sandpiper_store_up", "Whether the store answers", up)?;
        let times = operations.all();
        family.times(
            "sandpiper_store_operation",
            "How long the store takes, by operation",
            times
                .map(|(operation, times, _)| ([("operation", operation)], times.distribution()))
                .filter(|(_, times)| times.count > 0),
        )?;
        family.counters(
            "sandpiper_store_operation_failures",
            "Times that the store failed at an operation",
            "operation",
            operations
                .all()
                .map(|(operation, _, failures)| (operation, failures)),
        )?;
        if let Some(nodes) = &self.nodes {
            let help = "Nodes of this store that live";
            family.gauge("sandpiper_nodes", help, nodes.nodes.len())?;
            let age = nodes.oldest_queued.unwrap_or_default().as_secs_f64();
            let help = "How long the job of the database has waited that has waited longest";
            family.seconds("sandpiper_oldest_queued_age", help, age)?;
        }
        Ok(())
    }

    fn http(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let meters = &self.api.meters;
        family.counters_by(
            "sandpiper_http_requests",
            "Requests that were answered, by route, method and status",
            meters.ended().map(|ended| {
                let labels = [
                    ("route", ended.route),
                    ("method", ended.method),
                    ("status", ended.status),
                ];
                (labels, ended.count)
            }),
        )?;
        family.times(
            "sandpiper_http_request_duration",
            "From a request's head to the head of its answer",
            meters.times().map(|(route, method, times)| {
                ([("route", route), ("method", method)], times.distribution())
            }),
        )?;
        family.gauge(
            "sandpiper_http_requests_in_flight",
            "Requests that are not answered yet",
            meters.in_flight(),
        )?;
        family.counter(
            "sandpiper_http_requests_abandoned",
            "Requests whose client went away before the answer",
            meters.abandoned(),
        )?;
        family.gauge(
            "sandpiper_event_streams",
            "Streams of events that are open",
            self.api.streams.open(),
        )
    }

    fn process(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let status = &self.status;
        family.info(
            "sandpiper_build",
            "What runs here",
            [
                ("version", env!("CARGO_PKG_VERSION").to_owned()),
                ("engine", ENGINE.to_owned()),
                ("isolation", status.isolation_level.clone()),
                ("store", status.store.clone()),
            ],
        )?;
        let draining = usize::from(status.draining);
        let help = "Whether the service is stopping";
        family.gauge("sandpiper_draining", help, draining)?;
        family.gauge(
            "sandpiper_processes",
            "Processes of the service: itself, zygotes, job processes",
            status.process_ids.len(),
        )?;
        let spans = self.api.dispatcher.telemetry().counts().unwrap_or_default();
        family.counters(
            "sandpiper_spans",
            "Spans for the collector, by what became of them",
            "fate",
            [
                ("exported", spans.exported),
                ("dropped", spans.dropped),
                ("failed", spans.failed),
            ],
        )?;
        process_stats::write(family, self.api.dispatcher.started_at())
    }
}

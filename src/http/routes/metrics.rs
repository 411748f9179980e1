//! `GET /metrics` for Prometheus, on the main port or on a separate one. The ingress does not forward it.

use super::not_found;
use crate::actors::types::{Nodes, ServiceStatus};
use crate::http::Api;
use crate::http::browser::check_host;
use crate::http::problem::Problem;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;
use sandpiper_domain::{ENGINE, Lane, Outcome, Policy};
use sandpiper_http_kit::metrics::{CONTENT_TYPE, Families, as_u64, encode};
use sandpiper_http_kit::{late_heads, process};
use std::fmt;
use std::time::Duration;

/// Maximum time that a scrape waits for the store.
const STORE_WITHIN: Duration = Duration::from_secs(2);

/// Responds with all metrics on the main port, unless they have a separate port.
pub(super) async fn show_beside(api: Data<Api>) -> Result<HttpResponse, Problem> {
    if api.metrics_apart {
        return not_found().await;
    }
    Ok(show(api).await)
}

/// Responds with all metrics on the separate port. The same hosts are allowed there.
pub(super) async fn show_apart(
    api: Data<Api>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_host(&api, request.uri(), request.headers())?;
    Ok(show(api).await)
}

/// Responds with all metrics.
async fn show(api: Data<Api>) -> HttpResponse {
    let asked = tokio::time::timeout(STORE_WITHIN, api.dispatcher.nodes()).await;
    let snapshot = Snapshot {
        status: api.dispatcher.status(),
        nodes: asked.ok().and_then(Result::ok),
        api,
    };
    match encode(snapshot) {
        Ok(text) => HttpResponse::Ok().content_type(CONTENT_TYPE).body(text),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written as text; the scrape gets status 500");
            HttpResponse::InternalServerError().finish()
        }
    }
}

/// The state of the service at one moment.
#[derive(Debug)]
struct Snapshot {
    status: ServiceStatus,
    /// `None` if the store does not respond.
    nodes: Option<Nodes>,
    api: Data<Api>,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family = Families::new(&mut encoder);
        self.executions(&mut family)?;
        let counters = self.api.dispatcher.tool_counters();
        self.api.tools.write(counters, &mut family)?;
        self.queue(&mut family)?;
        self.executors(&mut family)?;
        self.jobs(&mut family)?;
        self.store(&mut family)?;
        self.usage(&mut family)?;
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
        let limits_hit = status.limits_hit.iter();
        family.counters(
            "sandpiper_limits_hit",
            "Executions that a limit ended, by the name of the limit in the API",
            "limit",
            limits_hit.map(|(limit, count)| (limit.as_str(), *count)),
        )?;
        family.counters(
            "sandpiper_kills",
            "Job processes that ended before their final message, by reason",
            "reason",
            [
                ("deadline", status.executions_killed),
                ("cancelled", self.outcome(Outcome::Cancelled)),
                ("crashed", status.executions_crashed),
            ],
        )?;
        family.counter(
            "sandpiper_executions_killed",
            "Executions that had to be ended by SIGKILL at their time limit",
            status.executions_killed,
        )?;
        family.time(
            "sandpiper_execution_run",
            "Duration of executions, from the moment their process has the job",
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
            "Jobs that wait for an executor of this process",
            None,
            "lane",
            [
                ("interactive", as_u64(status.queued_interactive)),
                ("background", as_u64(status.queued_background)),
            ],
        )?;
        family.gauges(
            "sandpiper_queue_oldest_age",
            "Waiting time of the oldest job in the queue of this process",
            Some(&Unit::Seconds),
            "lane",
            Lane::ALL.map(|lane| (lane.as_str(), meters.oldest_age(lane).as_secs_f64())),
        )?;
        family.times(
            "sandpiper_queue_wait",
            "Time from the queue to the executor",
            Lane::ALL.map(|lane| {
                let waits = meters.queue_wait.of(lane).distribution();
                ([("lane", lane.as_str())], waits)
            }),
        )?;
        family.counters(
            "sandpiper_queue_refusals",
            "Work rejected because of the queue, by reason",
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
            "Executors: all, with a live zygote, without one, busy",
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
            "Reserve executors: maximum, with a live zygote, busy",
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
            "Executions on reserve executors",
            self.api.dispatcher.meters().reserve_executions.get(),
        )?;
        family.counter(
            "sandpiper_executors_revived",
            "Executors restarted after a panic",
            status.executors_revived,
        )?;
        family.counter(
            "sandpiper_zygotes_started",
            "Zygotes started: at start, and as replacements of dead or used-up ones",
            self.api.dispatcher.meters().zygotes_started.get(),
        )?;
        family.counter(
            "sandpiper_zygotes_replaced",
            "Zygotes replaced because they or a child died",
            status.zygotes_replaced,
        )
    }

    fn jobs(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let jobs = &self.status.jobs;
        for (name, help, count) in [
            (
                "sandpiper_jobs_rescued",
                "Jobs taken over from nodes that died",
                jobs.rescued,
            ),
            (
                "sandpiper_jobs_lost",
                "Jobs declared lost because nothing could run them",
                jobs.lost,
            ),
            (
                "sandpiper_jobs_given_back",
                "Jobs returned to the database without having run",
                jobs.requeued,
            ),
            (
                "sandpiper_finishes_stale",
                "Results of jobs that came too late and were rejected",
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
            "Store operations that failed",
            self.status.jobs.failures,
        )?;
        let counts = &self.status.jobs;
        family.counters(
            "sandpiper_store_refusals",
            "Jobs rejected because of a bound of the store, by bound",
            "reason",
            [
                ("full", counts.refused_full),
                ("client_jobs", counts.refused_client_jobs),
                ("client_bytes", counts.refused_client_bytes),
                ("client_waiting", counts.refused_waiting),
            ],
        )?;
        family.gauge(
            "sandpiper_jobs_waiting",
            "Jobs with tools that have suspended and not ended, at the last count",
            usize::try_from(counts.waiting).unwrap_or(usize::MAX),
        )?;
        family.counter(
            "sandpiper_jobs_put_off",
            "Times that a job was postponed because stored results leave no room for its own",
            counts.postponed,
        )?;
        family.gauges(
            "sandpiper_store",
            "Size of the jobs in the store, and its maximum",
            Some(&Unit::Bytes),
            "kind",
            [("stored", counts.bytes), ("most", counts.bytes_max)],
        )?;
        let up = usize::from(self.nodes.is_some());
        family.gauge("sandpiper_store_up", "Whether the store responds", up)?;
        let times = operations.all();
        family.times(
            "sandpiper_store_operation",
            "Duration of store operations",
            times
                .map(|(operation, times, _)| ([("operation", operation)], times.distribution()))
                .filter(|(_, times)| times.count > 0),
        )?;
        family.counters(
            "sandpiper_store_operation_failures",
            "Store operations that failed, by operation",
            "operation",
            operations
                .all()
                .map(|(operation, _, failures)| (operation, failures)),
        )?;
        if let Some(nodes) = &self.nodes {
            let help = "Live nodes of this store";
            family.gauge("sandpiper_nodes", help, nodes.nodes.len())?;
            let age = nodes.oldest_queued.unwrap_or_default().as_secs_f64();
            let help = "Waiting time of the oldest job in the database";
            family.seconds("sandpiper_oldest_queued_age", help, age)?;
        }
        Ok(())
    }

    fn usage(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let stats = self.api.usage.stats();
        family.counters(
            "sandpiper_usage_flushes",
            "Attempts to write the usage of this node to the store, by result",
            "result",
            [
                ("written", stats.flushes.get()),
                ("failed", stats.flush_failures.get()),
            ],
        )?;
        family.counter(
            "sandpiper_usage_dropped",
            "Executions whose usage was dropped, and sums that were dropped, for lack of room in memory",
            stats.dropped.get() + self.status.jobs.usage_dropped,
        )?;
        family.counters(
            "sandpiper_budget_refusals",
            "Requests rejected because of a budget, by budget",
            "policy",
            Policy::all().map(|policy| (policy.name(), stats.refusals[policy.index()].get())),
        )?;
        family.counter(
            "sandpiper_budget_checks_unverified",
            "Requests held to budgets without recent totals of the store",
            stats.unverified.get(),
        )?;
        family.counter(
            "sandpiper_budget_checks_waited",
            "Requests that waited for the totals of the store near the end of a budget",
            stats.waits.get(),
        )
    }

    fn http(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let meters = &self.api.meters;
        family.counters_by(
            "sandpiper_http_requests",
            "Requests answered, by route, method and status",
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
            "Time from a request's head to the head of its response",
            meters.times().map(|(route, method, times)| {
                ([("route", route), ("method", method)], times.distribution())
            }),
        )?;
        family.gauge(
            "sandpiper_http_requests_in_flight",
            "Requests in progress",
            meters.in_flight(),
        )?;
        family.counter(
            "sandpiper_http_requests_abandoned",
            "Requests whose client disconnected before the response",
            meters.abandoned(),
        )?;
        family.counter(
            "sandpiper_http_heads_late",
            "Request heads that began and were not complete in time, on every port",
            late_heads(),
        )?;
        family.gauge(
            "sandpiper_event_streams",
            "Open event streams",
            self.api.streams.open(),
        )
    }

    fn process(&self, family: &mut Families<'_, '_>) -> fmt::Result {
        let status = &self.status;
        family.info(
            "sandpiper_build",
            "Version and configuration of this process",
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
            "Spans for the collector, by what happened to them",
            "fate",
            [
                ("exported", spans.exported),
                ("dropped", spans.dropped),
                ("failed", spans.failed),
            ],
        )?;
        let started = self.api.dispatcher.started_at().as_unix_millis();
        process::write(family, Duration::from_millis(started))
    }
}

//! `/api/health`: figures for people, liveness and readiness for machines. The handlers call no actor, so they respond
//! while every executor is busy. Readiness queries the store, at most once a second.
//!
//! The figures show the load that all tenants cause. A request that comes through an ingress with keys gets them only if
//! its key has the scope `admin`.

use super::json;
use crate::actors::types::{LayerReport, ServiceStatus};
use crate::http::Api;
use crate::http::caller::may_see_load;
use crate::http::problem::Problem;
use crate::http::process_stats::{self, MemoryView};
use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use sandpiper_domain::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// Resource usage of the service. An ingress with keys shows memory, uptime and processes only to a key with the scope
/// `admin`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
struct HealthView {
    /// Always `UP`.
    status: &'static str,
    /// Current time of the service.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// Memory of the service's own process.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    memory: Option<MemoryView>,
    /// Time since the start, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    uptime: Option<f64>,
    /// Number of processes: the service, its zygotes and their job processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    processes: Option<usize>,
}

/// Service status: memory, uptime, processes
#[utoipa::path(get, operation_id = "getHealth", path = "/api/health", tag = "service", responses((status = 200, description = "Service status", body = HealthView)))]
pub(super) async fn show(api: Data<Api>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let shows_load = may_see_load(request.headers());
    let uptime = || (api.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    let view = HealthView {
        status: "UP",
        timestamp: Timestamp::now(),
        memory: shows_load.then(process_stats::memory),
        uptime: shows_load.then(uptime),
        processes: shows_load.then(|| api.dispatcher.status().process_ids.len()),
    };
    json(StatusCode::OK, &view)
}

/// Liveness of the service.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Live)]
struct LiveView {
    /// Always `UP`.
    status: &'static str,
}

/// Liveness check
#[utoipa::path(get, operation_id = "getLiveness", path = "/api/health/live", tag = "service", responses((status = 200, description = "The service responds", body = LiveView)))]
pub(super) async fn live() -> Result<HttpResponse, Problem> {
    json(StatusCode::OK, &LiveView { status: "UP" })
}

/// Readiness of the service. An ingress with keys shows executors, queue and executions only to a key with the scope
/// `admin`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ready)]
struct ReadyView<'a> {
    /// `UP`, `DEGRADED` (some executors have no sandbox) or `DOWN` (new work is rejected).
    status: &'static str,
    /// Reasons why the status is not `UP`.
    reasons: Vec<Reason>,
    /// Isolation level proved at start: `L2`, `L3` or `L4`.
    isolation: &'a str,
    /// The isolation layers, each as tested at start.
    #[schema(value_type = Vec<LayerReport>)]
    walls: &'a [LayerReport],
    /// The executors.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    executors: Option<ExecutorsView>,
    /// The reserve executors, which run work of clients that hold no executor while other clients hold all of them.
    #[serde(rename = "reserveExecutors", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reserve_executors: Option<ReserveExecutorsView>,
    /// The queue of this process.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    queue: Option<QueueView>,
    /// Executions since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    executions: Option<ExecutionsView>,
}

/// A reason why the status is not `UP`.
#[derive(Debug, Serialize, ToSchema)]
struct Reason {
    /// `draining`, `isolation_lost` or `store_unavailable`.
    code: &'static str,
    /// Explanation for people.
    detail: String,
}

/// The executors.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Executors)]
struct ExecutorsView {
    /// Number of executors.
    total: usize,
    /// Number of executors with a working sandbox.
    ready: usize,
    /// Number of executors that run something now.
    busy: usize,
    /// Number of restarts of executors after a panic.
    revived: u64,
    /// Number of sandboxes that died and were replaced.
    #[serde(rename = "zygotesReplaced")]
    zygotes_replaced: u64,
}

/// Executors that are started on demand.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReserveExecutors)]
struct ReserveExecutorsView {
    /// Maximum number of reserve executors.
    total: usize,
    /// Number of reserve executors with a working sandbox.
    up: usize,
    /// Number of reserve executors that run something now.
    busy: usize,
}

/// Work that waits for an executor of this process.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Queue)]
struct QueueView {
    /// Number of waiting `POST /api/execute` requests.
    interactive: usize,
    /// Number of waiting jobs.
    background: usize,
}

/// Executions since the start.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Executions)]
struct ExecutionsView {
    /// Number of executions that ended.
    ended: u64,
    /// Running mean of their duration, milliseconds.
    mean_wall_ms: f64,
    /// Number of job processes that died or broke the protocol.
    crashed: u64,
    /// Number of job processes that had to be ended by SIGKILL at their deadline.
    killed: u64,
}

/// Readiness check
#[utoipa::path(
    get,
    operation_id = "getReadiness", path = "/api/health/ready",
    tag = "service",
    responses(
        (status = 200, description = "The service accepts work", body = ReadyView<'_>),
        (status = 503, description = "The service rejects work, for these reasons", body = ReadyView<'_>),
    )
)]
pub(super) async fn ready(api: Data<Api>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let store_is_up = api.dispatcher.store_is_up().await;
    let status = api.dispatcher.status();
    let (word, code) = verdict(&status, store_is_up);
    let shows_load = may_see_load(request.headers());
    let view = ReadyView {
        status: word,
        reasons: reasons(&status, store_is_up, shows_load),
        isolation: &status.isolation_level,
        walls: &status.isolation_layers,
        executors: shows_load.then_some(ExecutorsView {
            total: status.executors,
            ready: status.executors_ready,
            busy: status.executors_busy,
            revived: status.executors_revived,
            zygotes_replaced: status.zygotes_replaced,
        }),
        reserve_executors: shows_load.then_some(ReserveExecutorsView {
            total: status.reserve_executors,
            up: status.reserve_executors_up,
            busy: status.reserve_executors_busy,
        }),
        queue: shows_load.then_some(QueueView {
            interactive: status.queued_interactive,
            background: status.queued_background,
        }),
        executions: shows_load.then(|| ExecutionsView {
            ended: status.executions.iter().map(|(_, count)| count).sum(),
            mean_wall_ms: (status.mean_wall.as_secs_f64() * 1e6).round() / 1e3,
            crashed: status.executions_crashed,
            killed: status.executions_killed,
        }),
    };
    json(code, &view)
}

fn verdict(status: &ServiceStatus, store_is_up: bool) -> (&'static str, StatusCode) {
    if status.draining || status.executors_ready == 0 || !store_is_up {
        ("DOWN", StatusCode::SERVICE_UNAVAILABLE)
    } else if status.executors_ready < status.executors {
        ("DEGRADED", StatusCode::OK)
    } else {
        ("UP", StatusCode::OK)
    }
}

/// Returns the reasons for which the status is not `UP`. Only `with_counts` has numbers of executors.
fn reasons(status: &ServiceStatus, store_is_up: bool, with_counts: bool) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if status.draining {
        reasons.push(Reason {
            code: "draining",
            detail: "the service is stopping".to_owned(),
        });
    }
    if status.executors_ready < status.executors {
        let detail = isolation_lost(status.executors_ready, status.executors, with_counts);
        reasons.push(Reason {
            code: "isolation_lost",
            detail,
        });
    }
    if !store_is_up {
        reasons.push(Reason {
            code: "store_unavailable",
            detail: "the store of jobs does not answer, or cannot be written".to_owned(),
        });
    }
    reasons
}

/// Says how many executors have a sandbox, with numbers or without.
fn isolation_lost(ready: usize, total: usize, with_counts: bool) -> String {
    match ready {
        ready if with_counts => format!("{ready} of {total} executors have a working sandbox"),
        0 => "no executor has a working sandbox".to_owned(),
        _ => "some executors have no working sandbox".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_numbers_only_for_those_who_may_see_the_load() {
        assert!(isolation_lost(1, 4, true).starts_with("1 of 4 "));
        for ready in 0..4 {
            let reason = isolation_lost(ready, 4, false);
            assert!(
                !reason.contains(|letter: char| letter.is_numeric()),
                "{reason}"
            );
        }
    }
}

//! `/api/health`: numbers for people, and yes or no for machines. Asks no actor, so it answers while every executor spins;
//! readiness asks the store, at most once a second.

use super::json;
use crate::actors::answers::{ServiceStatus, WallReport};
use crate::http::Api;
use crate::http::problem::Problem;
use crate::http::process_stats::{self, MemoryView};
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use sandpiper_domain::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// How much the service takes.
#[derive(Debug, Serialize, ToSchema)]
struct HealthView {
    /// `UP`.
    status: &'static str,
    /// The clock of the service.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// Of the service's own process.
    memory: MemoryView,
    /// Seconds.
    uptime: f64,
    /// Processes of the service: itself, its zygotes, their job processes.
    processes: usize,
}

/// How much it takes: memory, uptime, processes.
#[utoipa::path(get, operation_id = "getHealth", path = "/api/health", tag = "service", responses((status = 200, description = "Numbers for people", body = HealthView)))]
pub(super) async fn show(api: Data<Api>) -> Result<HttpResponse, Problem> {
    let uptime = api.started.elapsed().as_secs_f64();
    let view = HealthView {
        status: "UP",
        timestamp: Timestamp::now(),
        memory: process_stats::memory(),
        uptime: (uptime * 1000.0).round() / 1000.0,
        processes: api.dispatcher.status().process_ids.len(),
    };
    json(StatusCode::OK, &view)
}

/// It answers.
#[derive(Debug, Serialize, ToSchema)]
struct LiveView {
    /// `UP`.
    status: &'static str,
}

/// It answers, so it lives.
#[utoipa::path(get, operation_id = "getLiveness", path = "/api/health/live", tag = "service", responses((status = 200, description = "It lives", body = LiveView)))]
pub(super) async fn live() -> Result<HttpResponse, Problem> {
    json(StatusCode::OK, &LiveView { status: "UP" })
}

/// Whether the service takes work.
#[derive(Debug, Serialize, ToSchema)]
struct ReadyView<'a> {
    /// `UP`, `DEGRADED` (some executors have no sandbox) or `DOWN` (no new work is taken).
    status: &'static str,
    /// Why it is not `UP`.
    reasons: Vec<Reason>,
    /// The level that was proved at the start: `L2`, `L3` or `L4`.
    isolation: &'a str,
    /// Each wall, as it was found by trying it.
    #[schema(value_type = Vec<WallReport>)]
    walls: &'a [WallReport],
    /// What runs executions.
    executors: ExecutorsView,
    /// The executors that run work of clients that have none while others hold all executors.
    #[serde(rename = "reserveExecutors")]
    reserve_executors: ReserveExecutorsView,
    /// What waits here.
    queue: QueueView,
    /// What has run since the start.
    executions: ExecutionsView,
}

/// Why it is not `UP`.
#[derive(Debug, Serialize, ToSchema)]
struct Reason {
    /// `draining`, `isolation_lost` or `store_unavailable`.
    code: &'static str,
    /// In words.
    detail: String,
}

/// What runs executions.
#[derive(Debug, Serialize, ToSchema)]
struct ExecutorsView {
    /// All of them.
    total: usize,
    /// Those with a working sandbox.
    ready: usize,
    /// Those that run something now.
    busy: usize,
    /// Brought back after a panic.
    revived: u64,
    /// Sandboxes that died and were raised anew.
    #[serde(rename = "zygotesReplaced")]
    zygotes_replaced: u64,
}

/// Executors that are raised on demand.
#[derive(Debug, Serialize, ToSchema)]
struct ReserveExecutorsView {
    /// The most that there may be.
    total: usize,
    /// Those with a working sandbox.
    up: usize,
    /// Those that run something now.
    busy: usize,
}

/// What waits for an executor.
#[derive(Debug, Serialize, ToSchema)]
struct QueueView {
    /// Requests of `POST /api/execute` that wait.
    interactive: usize,
    /// Jobs that wait here.
    background: usize,
}

/// What has run since the start.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ExecutionsView {
    /// All that have ended since the start.
    ended: u64,
    /// Running mean of their wall time, milliseconds.
    mean_wall_ms: f64,
    /// Job processes that died or broke the protocol.
    crashed: u64,
    /// Job processes that only SIGKILL ended at their deadline.
    killed: u64,
}

/// It takes work, or not and why.
#[utoipa::path(
    get,
    operation_id = "getReadiness", path = "/api/health/ready",
    tag = "service",
    responses(
        (status = 200, description = "It takes work", body = ReadyView<'_>),
        (status = 503, description = "It takes none, for these reasons", body = ReadyView<'_>),
    )
)]
pub(super) async fn ready(api: Data<Api>) -> Result<HttpResponse, Problem> {
    let store_is_up = api.dispatcher.store_is_up().await;
    let status = api.dispatcher.status();
    let (word, code) = verdict(&status, store_is_up);
    let view = ReadyView {
        status: word,
        reasons: reasons(&status, store_is_up),
        isolation: &status.isolation_level,
        walls: &status.walls,
        executors: ExecutorsView {
            total: status.executors,
            ready: status.executors_ready,
            busy: status.executors_busy,
            revived: status.executors_revived,
            zygotes_replaced: status.zygotes_replaced,
        },
        reserve_executors: ReserveExecutorsView {
            total: status.reserve_executors,
            up: status.reserve_executors_up,
            busy: status.reserve_executors_busy,
        },
        queue: QueueView {
            interactive: status.queued_interactive,
            background: status.queued_background,
        },
        executions: ExecutionsView {
            ended: status.executions.iter().map(|(_, count)| count).sum(),
            mean_wall_ms: (status.mean_wall.as_secs_f64() * 1e6).round() / 1e3,
            crashed: status.executions_crashed,
            killed: status.executions_killed,
        },
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

fn reasons(status: &ServiceStatus, store_is_up: bool) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if status.draining {
        reasons.push(Reason {
            code: "draining",
            detail: "the service is stopping".to_owned(),
        });
    }
    if status.executors_ready < status.executors {
        let (ready, total) = (status.executors_ready, status.executors);
        reasons.push(Reason {
            code: "isolation_lost",
            detail: format!("{ready} of {total} executors have a working sandbox"),
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

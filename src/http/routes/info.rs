//! `GET /api`: version, isolation and limits of the service.

use super::json;
use crate::actors::types::LayerReport;
use crate::http::Api;
use crate::http::execution_view::LimitsView;
use crate::http::problem::Problem;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use sandpiper_domain::tools::ToolLimits;
use sandpiper_domain::{Ceiling, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

/// Version, isolation and limits of the service.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Info)]
struct InfoView<'a> {
    /// Always `UP`.
    status: &'static str,
    /// Always `sandpiper`.
    name: &'static str,
    /// Version of the service.
    version: &'static str,
    /// Current time of the service.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// The JavaScript engine.
    engine: &'static str,
    /// Isolation level proved at start: `L2`, `L3` or `L4`.
    isolation: &'a str,
    /// The isolation layers, each as tested at start.
    #[schema(value_type = Vec<LayerReport>)]
    walls: &'a [LayerReport],
    /// The store of jobs.
    store: StoreView<'a>,
    /// Limits of an execution.
    limits: LimitBoundsView<'a>,
    /// Number of executions that run at the same time.
    executors: usize,
}

/// The store of jobs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Store)]
struct StoreView<'a> {
    /// `memory`, `sqlite` or `postgres`.
    name: &'a str,
    /// The store's promise for a job that was accepted.
    promise: &'a str,
}

/// Limits of an execution.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LimitBounds)]
struct LimitBoundsView<'a> {
    /// Limits of a request that names none.
    defaults: LimitsView,
    /// The maximum that a request may name.
    ceilings: CeilingsView<'a>,
}

/// The maximum that a request may name.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Ceiling)]
struct CeilingsView<'a> {
    #[serde(flatten)]
    #[schema(inline)]
    ceiling: &'a Ceiling,
    /// Only with tools: calls.
    calls_max: u32,
    /// Only with tools: calls that wait for their answers at the same time.
    concurrent_calls_max: u32,
    /// Only with tools: argument of one call, bytes of JSON.
    argument_bytes: u32,
    /// Only with tools: result of one call, bytes of JSON.
    result_bytes: u32,
    /// Only with tools: all calls and answers together, bytes.
    log_bytes: u32,
    /// Only with tools: time that a call may wait for its answer, milliseconds.
    #[schema(value_type = u64)]
    call_timeout_ms: u32,
    /// Only with tools: time that the execution waits until a request continues it, seconds.
    wait_timeout_s: u32,
}

impl<'a> CeilingsView<'a> {
    fn of(api: &'a Api) -> Self {
        let wait_timeout_s = api.replays.ttl_s();
        Self {
            ceiling: &api.ceiling,
            calls_max: ToolLimits::CALLS_MAX_CEILING,
            concurrent_calls_max: ToolLimits::CONCURRENT_CALLS_MAX_CEILING,
            argument_bytes: ToolLimits::ARGUMENT_BYTES_CEILING,
            result_bytes: ToolLimits::RESULT_BYTES_CEILING,
            log_bytes: ToolLimits::LOG_BYTES_OF_EXECUTE,
            call_timeout_ms: ToolLimits::CALL_TIMEOUT_MS_CEILING,
            wait_timeout_s,
        }
    }
}

/// Service information
#[utoipa::path(get, operation_id = "getInfo", path = "/api", tag = "service", responses((status = 200, description = "Version, isolation, limits", body = InfoView<'_>)))]
pub(super) async fn show(api: Data<Api>) -> Result<HttpResponse, Problem> {
    let status = api.dispatcher.status();
    let view = InfoView {
        status: "UP",
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        timestamp: Timestamp::now(),
        engine: sandpiper_domain::ENGINE,
        isolation: &status.isolation_level,
        walls: &status.isolation_layers,
        store: StoreView {
            name: &status.store,
            promise: &status.store_promise,
        },
        limits: LimitBoundsView {
            defaults: LimitsView::from(&api.defaults).with_tools(&ToolLimits::default_of_execute(
                &api.defaults,
                api.replays.ttl_s(),
            )),
            ceilings: CeilingsView::of(&api),
        },
        executors: status.executors,
    };
    json(StatusCode::OK, &view)
}

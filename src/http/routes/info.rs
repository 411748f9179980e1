//! `GET /api`: version, isolation and limits of the service.

use super::json;
use crate::actors::types::LayerReport;
use crate::http::Api;
use crate::http::problem::Problem;
use crate::http::view::LimitsView;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
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
    #[schema(value_type = Ceiling)]
    ceilings: &'a Ceiling,
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
            defaults: LimitsView::from(&api.defaults),
            ceilings: &api.ceiling,
        },
        executors: status.executors,
    };
    json(StatusCode::OK, &view)
}

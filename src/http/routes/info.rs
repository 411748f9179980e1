//! `GET /api`: what this is, and what it promises right now.

use super::json;
use crate::actors::answers::WallReport;
use crate::http::Api;
use crate::http::problem::Problem;
use crate::http::view::LimitsView;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use sandpiper_domain::{Ceiling, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

/// What this is, and what it promises.
#[derive(Debug, Serialize, ToSchema)]
struct InfoView<'a> {
    /// `UP`.
    status: &'static str,
    /// `sandpiper`.
    name: &'static str,
    /// Of the service.
    version: &'static str,
    /// Its clock.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// The JavaScript engine.
    engine: &'static str,
    /// The level that was proved at the start: `L2`, `L3` or `L4`.
    isolation: &'a str,
    /// Each wall, as it was found by trying it.
    #[schema(value_type = Vec<WallReport>)]
    walls: &'a [WallReport],
    /// Where jobs are kept.
    store: StoreView<'a>,
    /// What an execution may use.
    limits: LimitBoundsView<'a>,
    /// Executions at one time.
    executors: usize,
}

/// Where jobs are kept.
#[derive(Debug, Serialize, ToSchema)]
struct StoreView<'a> {
    /// `memory`, `sqlite` or `postgres`.
    name: &'a str,
    /// What holds for a job that was accepted.
    promise: &'a str,
}

/// What an execution may use.
#[derive(Debug, Serialize, ToSchema)]
struct LimitBoundsView<'a> {
    /// Where a request says nothing.
    defaults: LimitsView,
    /// The most that a request may ask for.
    #[schema(value_type = Ceiling)]
    ceilings: &'a Ceiling,
}

/// What this is, and what it promises right now.
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
        walls: &status.walls,
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

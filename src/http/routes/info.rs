//! `GET /api`: what this is, and what it promises right now.

use super::json;
use crate::actors::answers::WallReport;
use crate::domain::{Ceiling, Timestamp};
use crate::http::Api;
use crate::http::problem::Problem;
use crate::http::view::LimitsView;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
struct InfoView<'a> {
    status: &'static str,
    name: &'static str,
    version: &'static str,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    engine: &'static str,
    isolation: &'a str,
    #[schema(value_type = Vec<WallReport>)]
    walls: &'a [WallReport],
    store: StoreView<'a>,
    limits: LimitBoundsView<'a>,
    executors: usize,
}

#[derive(Debug, Serialize, ToSchema)]
struct StoreView<'a> {
    name: &'a str,
    promise: &'a str,
}

#[derive(Debug, Serialize, ToSchema)]
struct LimitBoundsView<'a> {
    defaults: LimitsView,
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
        engine: crate::domain::ENGINE,
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

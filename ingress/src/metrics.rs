//! `GET /metrics` on the metrics port.

use crate::browser;
use crate::gateway::Gateway;
use crate::meters::Snapshot;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use sandpiper_http_kit::metrics::{CONTENT_TYPE, encode};
use std::sync::Arc;

/// Responds with all metrics, if the request is for an allowed host.
pub(crate) async fn show(gateway: Data<Gateway>, request: HttpRequest) -> HttpResponse {
    if let Err(problem) = browser::check_host(&gateway, request.uri(), request.headers(), false) {
        return problem.into_response();
    }
    let snapshot = Snapshot {
        meters: Arc::clone(&gateway.meters),
        clients: gateway.limits.clients(),
        started: gateway.started,
        keys: gateway.keys.as_ref().map_or(0, |keys| keys.len()),
    };
    match encode(snapshot) {
        Ok(text) => HttpResponse::Ok().content_type(CONTENT_TYPE).body(text),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be encoded; this request gets a 500");
            HttpResponse::InternalServerError().finish()
        }
    }
}

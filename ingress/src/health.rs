//! The ingress's own health: `GET /ingress/live` and `GET /ingress/ready`.

use crate::proxy::Upstream;
use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use serde_json::{Value, json};

/// This process answers.
#[must_use]
pub(crate) fn live() -> HttpResponse {
    up()
}

/// Whether it is worth sending requests here: the service has to be ready, and this process not about to stop.
pub(crate) async fn ready(upstream: &Upstream, stopping: bool) -> HttpResponse {
    if stopping {
        return not_ready("the ingress is stopping");
    }
    match upstream.ready().await {
        Ok(()) => up(),
        Err(reason) => not_ready(&reason),
    }
}

fn up() -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(json!({"status": "UP"}))
}

fn not_ready(reason: &str) -> HttpResponse {
    let body: Value = json!({"status": "DOWN", "reasons": [reason]});
    let mut response = HttpResponse::ServiceUnavailable();
    response
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(body)
}

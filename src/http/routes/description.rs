//! `GET /api/openapi.json` and `GET /api/docs`, the same description as a page.

use crate::http::{Api, openapi};
use actix_web::HttpResponse;
use actix_web::web::Data;

/// The page is text and links, so its policy allows nothing else.
const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) async fn json(api: Data<Api>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(document(&api).to_string())
}

pub(super) async fn page(api: Data<Api>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header(("Content-Security-Policy", POLICY))
        .body(openapi::page(&document(&api)))
}

pub(super) async fn style() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/css; charset=utf-8")
        .body(openapi::STYLE)
}

fn document(api: &Api) -> serde_json::Value {
    openapi::document(&api.defaults, &api.ceiling, api.sources.is_some())
}

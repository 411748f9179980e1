//! The web page: the built files of one folder, or a plain page if there are none.

use crate::problem::{Code, Problem};
use actix_files::Files;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    X_FRAME_OPTIONS,
};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Responder};
use std::path::{Path, PathBuf};

/// The content security policy: files of this host only; no inline script, no frame, no form.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// The path of built files whose names contain a hash of their content.
const HASHED: &str = "/assets/";

/// Configures routes for the files of `folder` if it has a page, else for the plain page.
pub(crate) fn configure(folder: &Path, config: &mut ServiceConfig) {
    if has_page(folder) {
        let files = Files::new("/", PathBuf::from(folder))
            .index_file("index.html")
            .try_compressed()
            .prefer_utf8(true)
            .default_handler(web::to(not_found));
        config.service(files);
        return;
    }
    config
        .route("/", web::get().to(plain))
        .route("/", web::head().to(plain))
        .route("/plain.css", web::get().to(plain_style))
        .default_service(web::to(not_found));
}

pub(crate) fn has_page(folder: &Path) -> bool {
    folder.join("index.html").is_file()
}

/// Serves a page, with the headers of pages.
pub(crate) async fn serve<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let problem = Problem::new(Code::MethodNotAllowed, "pages are read with GET and HEAD");
        return Ok(request.into_response(problem.into_response()));
    }
    let is_hashed = request.path().starts_with(HASHED);
    let mut response = next.call(request).await?.map_into_boxed_body();
    let is_served = matches!(
        response.status(),
        StatusCode::OK | StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT
    );
    protect(response.headers_mut());
    if is_served {
        let kept = if is_hashed {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static(kept));
    }
    Ok(response)
}

fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
        (OPENER_POLICY, "same-origin"),
        (RESOURCE_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

async fn not_found() -> HttpResponse {
    Problem::new(
        Code::NotFound,
        "there is no page of this name; the API is below /api",
    )
    .into_response()
}

async fn plain() -> impl Responder {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .body(include_str!("pages/plain.html"))
}

async fn plain_style() -> impl Responder {
    HttpResponse::Ok()
        .content_type("text/css; charset=utf-8")
        .body(include_str!("pages/plain.css"))
}

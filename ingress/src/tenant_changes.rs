//! The requests to the service that change what belongs to a tenant: give the jobs of a key to another tenant, and delete
//! all data of a tenant.

use crate::keys::KeyId;
use actix_web::rt::System;
use http_body_util::BodyExt as _;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::http::request::Builder;
use hyper::http::uri::Authority;
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use std::error::Error;
use std::time::Duration;

/// Maximum time of the change. The service takes seconds for many jobs.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Moves the jobs that `key` submitted for the tenant `from` to the tenant `to`. Returns the report of the service.
///
/// # Errors
///
/// The service does not respond in time, or refuses.
pub(crate) fn assign_jobs(
    service: &Authority,
    key: KeyId,
    from: &str,
    to: &str,
) -> Result<String, Box<dyn Error>> {
    let body = json!({ "key": key.to_string(), "to": to }).to_string();
    let request = change_of(service, Method::POST, &format!("{from}/assign"));
    let request = request.header(CONTENT_TYPE, "application/json");
    send(service, request.body(body)?)
}

/// Deletes what the service has stored about a tenant whose keys were revoked. Returns the report of the service.
///
/// # Errors
///
/// The service does not respond in time, or refuses.
pub(crate) fn purge(service: &Authority, tenant: &str) -> Result<String, Box<dyn Error>> {
    let request = change_of(service, Method::DELETE, tenant);
    // The keys named the tenant. The service may have nothing of it.
    let request = request.header("sandpiper-known-tenant", tenant);
    send(service, request.body(String::new())?)
}

fn change_of(service: &Authority, method: Method, path: &str) -> Builder {
    Request::builder()
        .method(method)
        .uri(format!("http://{service}/api/tenants/{path}"))
        .header(HOST, "localhost")
        .header("sandpiper-tenant", "default")
        .header("sandpiper-scopes", "admin")
}

fn send(service: &Authority, request: Request<String>) -> Result<String, Box<dyn Error>> {
    let sent = async {
        let client = Client::builder(TokioExecutor::new()).build_http::<String>();
        let unreached =
            |error: &dyn Error| format!("the service at {service} does not respond: {error}");
        let response = client
            .request(request)
            .await
            .map_err(|error| unreached(&error))?;
        let (head, body) = response.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|error| unreached(&error))?
            .to_bytes();
        let report = String::from_utf8_lossy(&body).into_owned();
        if head.status.is_success() {
            Ok(report)
        } else {
            Err(report.into())
        }
    };
    let result = System::new().block_on(async { tokio::time::timeout(TIMEOUT, sent).await });
    result.unwrap_or_else(|late| Err(late.into()))
}

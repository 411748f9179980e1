//! The health of the ingress: `GET /ingress/live`, `GET /ingress/ready`, and the client of the command `health`.

use crate::proxy::Upstream;
use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::rt::System;
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

#[derive(Debug)]
pub struct Health {
    /// True if the ingress and the service behind it accept work.
    pub is_ready: bool,
    /// The body of the response, or the reason for which there is none.
    pub report: String,
}

/// Requests the readiness of the ingress at `address`.
pub fn check(address: SocketAddr, timeout: Duration) -> Health {
    let uri = format!("http://{address}/ingress/ready");
    let queried = async {
        let client = Client::builder(TokioExecutor::new()).build_http::<String>();
        let response = client.get(uri.parse()?).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Health {
            is_ready: head.status.is_success(),
            report: String::from_utf8_lossy(&body).into_owned(),
        })
    };
    let result = System::new().block_on(async { tokio::time::timeout(timeout, queried).await });
    let result: Result<_, Box<dyn Error>> = result.unwrap_or_else(|late| Err(late.into()));
    result.unwrap_or_else(|error| Health {
        is_ready: false,
        report: format!("{uri} does not answer: {error}"),
    })
}

/// The last readiness report of the service. A report is valid for a second; concurrent requests share one query.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    last: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Readiness {
    const VALID_FOR: Duration = Duration::from_secs(1);

    /// Queries the service, unless the last report is still valid. A query takes at most two seconds.
    async fn of(&self, upstream: &Upstream) -> Result<(), String> {
        // Locked during the query, so that concurrent requests wait for the same report.
        let mut last = self.last.lock().await;
        if let Some((queried, report)) = &*last
            && queried.elapsed() < Self::VALID_FOR
        {
            return report.clone();
        }
        let report = upstream.ready().await;
        *last = Some((Instant::now(), report.clone()));
        report
    }
}

/// Responds to the readiness check: ready if the service is ready and the ingress is not stopping.
pub(crate) async fn ready(
    readiness: &Readiness,
    upstream: &Upstream,
    stopping: bool,
) -> HttpResponse {
    if stopping {
        return not_ready("the ingress is stopping");
    }
    match readiness.of(upstream).await {
        Ok(()) => live(),
        Err(reason) => not_ready(&reason),
    }
}

/// Responds to the liveness check: the process serves requests.
pub(crate) fn live() -> HttpResponse {
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

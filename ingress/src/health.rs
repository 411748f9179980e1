//! The ingress's own health: `GET /ingress/live` and `GET /ingress/ready`, and who asks for it from the command line.

use crate::proxy::Upstream;
use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::rt::System;
use awc::Client;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// What an ingress says of itself.
#[derive(Debug)]
pub struct Health {
    /// It and the service behind it take work.
    pub is_ready: bool,
    /// Its answer, or why there is none.
    pub said: String,
}

/// Asks the ingress at `address`.
#[must_use]
pub fn ask(address: SocketAddr, within: Duration) -> Health {
    let uri = format!("http://{address}/ingress/ready");
    System::new().block_on(async {
        let client = Client::builder().timeout(within).finish();
        match client.get(&uri).send().await {
            Ok(mut answer) => Health {
                is_ready: answer.status().is_success(),
                said: match answer.body().await {
                    Ok(body) => String::from_utf8_lossy(&body).into_owned(),
                    Err(error) => error.to_string(),
                },
            },
            Err(error) => Health {
                is_ready: false,
                said: format!("{uri} does not answer: {error}"),
            },
        }
    })
}

/// The last answer of the service about its health. It counts for a second, and one request asks for all.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    last: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Readiness {
    const COUNTS_FOR: Duration = Duration::from_secs(1);

    /// Asks the service, unless it has just been asked. The service answers or fails within two seconds.
    async fn of(&self, upstream: &Upstream) -> Result<(), String> {
        // Held while the service is asked, so that the others wait for the one answer.
        let mut last = self.last.lock().await;
        if let Some((asked, said)) = &*last
            && asked.elapsed() < Self::COUNTS_FOR
        {
            return said.clone();
        }
        let said = upstream.ready().await;
        *last = Some((Instant::now(), said.clone()));
        said
    }
}

/// This process answers.
#[must_use]
pub(crate) fn live() -> HttpResponse {
    up()
}

/// Whether it is worth sending requests here: the service has to be ready, and this process not about to stop.
pub(crate) async fn ready(
    readiness: &Readiness,
    upstream: &Upstream,
    stopping: bool,
) -> HttpResponse {
    if stopping {
        return not_ready("the ingress is stopping");
    }
    match readiness.of(upstream).await {
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

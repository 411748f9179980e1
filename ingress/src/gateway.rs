//! The state of the gateway: everything that the threads of the ingress share.
//!
//! `app` builds one [`Gateway`] at start. `middleware`, `authorization`, `tasks` and `metrics` read it.

use crate::audit::Audit;
use crate::client::Trust;
use crate::cors::Cors;
use crate::health::Readiness;
use crate::in_flight::InFlight;
use crate::keys::KeyRing;
use crate::limits::Limits;
use crate::meters::Meters;
use crate::sources::Sources;
use actix_web::HttpRequest;
use actix_web::web::Data;
use sandpiper_http_kit::hosts::AllowedHosts;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Gateway {
    /// The part of `X-Forwarded-For` that counts.
    pub trust: Trust,
    pub limits: Limits,
    pub in_flight: InFlight,
    /// Maximum open requests of one client without a key.
    pub requests_per_client: u32,
    /// The hosts that are served where no key is needed.
    pub hosts: AllowedHosts,
    pub cors: Cors,
    /// The API keys; `None` if no key is needed.
    pub keys: Option<Arc<KeyRing>>,
    /// The fetcher of remote scripts; `None` if none are allowed.
    pub sources: Option<Sources>,
    /// Maximum length of a request's path and query, bytes.
    pub url_bytes: usize,
    /// Maximum length of a request's headers, bytes.
    pub header_bytes: usize,
    /// True for a public demonstration (`--open`), which lists no jobs.
    pub is_demonstration: bool,
    /// The last health report of the service.
    pub readiness: Readiness,
    /// Time from 1970 to the start of the process.
    pub started: Duration,
    pub stopping: AtomicBool,
    pub meters: Arc<Meters>,
    /// The audit log, if one is written.
    pub audit: Option<Audit>,
    /// The share of traces started here that the service is asked to record, 0 to 1.
    pub trace_ratio: f64,
}

impl Gateway {
    pub(crate) fn of(request: &HttpRequest) -> &Data<Self> {
        match request.app_data::<Data<Self>>() {
            Some(gateway) => gateway,
            None => unreachable!("every app is built with its gateway"),
        }
    }
}

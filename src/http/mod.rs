//! HTTP in, one call on the handle, a view out.
//!
//! Its own: routes, request and response bodies, problems. It talks to the actors through [`DispatcherHandle`] alone and
//! knows no `Addr`, no sandbox and no engine. Put together by `app`.

mod body;
mod browser;
mod client;
mod exposition;
mod fields;
mod form;
mod members;
mod meters;
mod observe;
mod openapi;
mod prefer;
mod problem;
mod process_stats;
mod request_id;
mod routes;
mod streams;
mod submission;
mod trace;
mod view;

pub use meters::HttpMeters;
pub use observe::observe;
pub use openapi::document as openapi;
pub use routes::{configure, configure_metrics};
pub use streams::Streams;
pub use view::execution_json;

use crate::actors::DispatcherHandle;
use crate::meters::Operations;
use crate::scripts::ScriptLibrary;
use crate::sources::SourceFolder;
use actix_web::http::header::HeaderName;
use sandpiper_domain::{Ceiling, Limits};
use sandpiper_http_kit::hosts::AllowedHosts;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bounds and choices of the HTTP side.
#[derive(Debug, Clone)]
pub struct HttpBounds {
    /// Longest body, bytes.
    pub body_bytes: usize,
    /// Longest that a body may take to arrive.
    pub body_timeout: Duration,
    /// Longest `Prefer: wait`.
    pub wait_max: Duration,
    /// How long a stream of events lasts at most; whoever follows it comes again.
    pub events_for: Duration,
    /// The host that `/api/netcheck` tries to reach.
    pub netcheck_host: IpAddr,
    /// Hosts that are answered beside `localhost` and addresses.
    pub allowed_hosts: AllowedHosts,
    /// Header in which a trusted front tells clients apart.
    pub client_header: Option<HeaderName>,
}

/// What every handler stands on.
#[derive(Debug)]
pub struct Api {
    /// The way to the actors.
    pub dispatcher: DispatcherHandle,
    /// The example scripts.
    pub scripts: ScriptLibrary,
    /// Where scripts from elsewhere lie, if there are any.
    pub sources: Option<SourceFolder>,
    /// What a client gets that asks for nothing.
    pub defaults: Limits,
    /// The most it may ask for.
    pub ceiling: Ceiling,
    /// Bounds of the HTTP side.
    pub bounds: HttpBounds,
    /// Streams of events that are open.
    pub streams: Arc<Streams>,
    /// When the service started.
    pub started: Instant,
    /// What was asked for, and how long it took.
    pub meters: HttpMeters,
    /// What the store was asked for, and how long it took.
    pub store: Arc<Operations>,
    /// `/metrics` stands on a port of its own.
    pub metrics_apart: bool,
}

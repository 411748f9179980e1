//! The HTTP side: extracts a request, makes one call on the handle, returns a view.
//!
//! This module has the routes, the request and response bodies, and the problems. It calls the actors through
//! [`DispatcherHandle`] only, and uses no `Addr`, no sandbox and no engine. `app` assembles it.

mod body;
mod browser;
mod budget;
mod caller;
mod calls_view;
mod client;
mod execution_view;
mod meters;
mod observe;
mod openapi;
mod prefer;
mod problem;
mod process_stats;
mod request;
mod request_id;
mod routes;
mod streams;
mod submission;
mod tool_meters;
mod tool_runs;
mod trace;
mod usage_view;
mod view;

pub use execution_view::execution_json;
pub use meters::HttpMeters;
pub use observe::observe;
pub use openapi::document as openapi;
pub use routes::{configure, configure_metrics};
pub use streams::Streams;
pub use tool_meters::ToolMeters;

use crate::actors::DispatcherHandle;
use crate::measured_store::Operations;
use crate::replay::Replays;
use crate::scripts::ScriptLibrary;
use crate::sources::SourceFolder;
use crate::usage::UsageMeter;
use actix_web::http::header::HeaderName;
use sandpiper_domain::{Ceiling, Limits};
use sandpiper_http_kit::hosts::AllowedHosts;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The bounds and options of the HTTP side.
#[derive(Debug, Clone)]
pub struct HttpBounds {
    /// Maximum size of a body, bytes.
    pub body_bytes: usize,
    /// Maximum time for a body to arrive.
    pub body_timeout: Duration,
    /// Maximum wait of `Prefer: wait`.
    pub wait_max: Duration,
    /// Time after which an event stream is closed. Clients reconnect then.
    pub events_for: Duration,
    /// Host that `/api/netcheck` tries to reach.
    pub netcheck_host: IpAddr,
    /// Hosts that are accepted besides `localhost` and IP addresses.
    pub allowed_hosts: AllowedHosts,
    /// Header in which a trusted proxy identifies the client.
    pub client_header: Option<HeaderName>,
}

/// The state that handlers share.
#[derive(Debug)]
pub struct Api {
    /// The handle of the Dispatcher.
    pub dispatcher: DispatcherHandle,
    /// The example scripts.
    pub scripts: ScriptLibrary,
    /// The folder of fetched scripts, if one is configured.
    pub sources: Option<SourceFolder>,
    /// Limits of a request that names none.
    pub defaults: Limits,
    /// The maximum that a client may request.
    pub ceiling: Ceiling,
    /// The bounds of the HTTP side.
    pub bounds: HttpBounds,
    /// The open event streams.
    pub streams: Arc<Streams>,
    /// Time at which the service started.
    pub started: Instant,
    /// Metrics of HTTP requests.
    pub meters: HttpMeters,
    /// Metrics of executions with tools.
    pub tools: ToolMeters,
    /// Seals the states of executions that wait for answers.
    pub replays: Replays,
    /// Metrics of store operations.
    pub store: Arc<Operations>,
    /// Usage of tenants, and their budgets.
    pub usage: Arc<UsageMeter>,
    /// `true` if `/metrics` is on a separate port.
    pub metrics_apart: bool,
}

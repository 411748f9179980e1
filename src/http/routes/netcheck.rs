//! `GET /api/netcheck`: whether the network can be reached, by really trying.

use super::json;
use crate::http::Api;
use crate::http::browser::check_site;
use crate::http::problem::Problem;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use utoipa::ToSchema;

const PORT_DEFAULT: u16 = 443;
const SERVICE_TRIES_FOR: Duration = Duration::from_secs(2);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetCheckQuery {
    port: Option<String>,
}

/// Whether the network can be reached.
#[derive(Debug, Serialize, ToSchema)]
struct NetCheckView {
    /// What holds for scripts: `restricted` or `allowed`.
    status: &'static str,
    /// That was tried.
    port: u16,
    /// In words.
    message: String,
    /// What a job process found.
    sandbox: SideView,
    /// What the service itself found.
    service: SideView,
}

/// What one of them found.
#[derive(Debug, Serialize, ToSchema)]
struct SideView {
    /// `restricted` or `allowed`.
    status: &'static str,
    /// What stopped it, if something did.
    detail: String,
}

/// Whether the network can be reached, from a job process and from the service: both really try.
#[utoipa::path(
    get,
    operation_id = "checkNetwork", path = "/api/netcheck",
    tag = "service",
    params(("port" = Option<u16>, Query, description = "The port to try", minimum = 1, maximum = 65_535)),
    responses((status = 200, description = "What they found", body = NetCheckView))
)]
pub(super) async fn check(api: Data<Api>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    // A GET, and yet it starts a process.
    check_site(request.uri(), request.headers())?;
    let port = port_of(request.query_string())?;
    let target = SocketAddr::new(api.bounds.netcheck_host, port);
    let inside = api.dispatcher.net_check(target.ip(), port);
    let (inside, outside) = tokio::join!(inside, try_from_service(target));
    let inside = inside?;
    let status = word(inside.reached);
    let view = NetCheckView {
        status,
        port,
        message: format!(
            "a script {} reach {target}; the service itself {}",
            if inside.reached { "CAN" } else { "cannot" },
            if outside.is_ok() { "can" } else { "cannot" },
        ),
        sandbox: SideView {
            status,
            detail: inside.detail,
        },
        service: SideView {
            status: word(outside.is_ok()),
            detail: outside.err().unwrap_or_else(|| "connected".to_owned()),
        },
    };
    json(StatusCode::OK, &view)
}

fn word(reached: bool) -> &'static str {
    if reached { "allowed" } else { "restricted" }
}

async fn try_from_service(target: SocketAddr) -> Result<(), String> {
    match tokio::time::timeout(SERVICE_TRIES_FOR, TcpStream::connect(target)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.kind().to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

fn port_of(query: &str) -> Result<u16, Problem> {
    let wrong = || {
        Problem::invalid_field(
            "port",
            "the query may hold `port`, a whole number from 1 to 65535, and nothing else",
        )
    };
    let query = Query::<NetCheckQuery>::from_query(query).map_err(|_| wrong())?;
    match &query.port {
        None => Ok(PORT_DEFAULT),
        Some(text) => text.parse().ok().filter(|port| *port > 0).ok_or_else(wrong),
    }
}

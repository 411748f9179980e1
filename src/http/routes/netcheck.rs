//! `GET /api/netcheck`: tests whether the network can be reached, by connecting.

use super::json;
use crate::http::Api;
use crate::http::browser::check_site;
use crate::http::caller::Caller;
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
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetCheckQuery {
    port: Option<String>,
}

/// Result of the network check.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NetCheck)]
struct NetCheckView {
    /// Network access of scripts: `restricted` or `allowed`.
    status: &'static str,
    /// Port that was tried.
    port: u16,
    /// Summary for people.
    message: String,
    /// Result of the job process.
    sandbox: SideView,
    /// Result of the service's own process.
    service: SideView,
}

/// Result of one process.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Side)]
struct SideView {
    /// `restricted` or `allowed`.
    status: &'static str,
    /// Reason of the failure, or `connected`.
    detail: String,
}

/// Network check
///
/// Tries to connect from a job process and from the service's own process.
#[utoipa::path(
    get,
    operation_id = "checkNetwork", path = "/api/netcheck",
    tag = "service",
    params(("port" = Option<u16>, Query, description = "Port to try", minimum = 1, maximum = 65_535)),
    responses((status = 200, description = "Result of both attempts", body = NetCheckView))
)]
pub(super) async fn check(
    api: Data<Api>,
    _: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    // This GET starts a job process, so pages of other origins may not send it.
    check_site(request.uri(), request.headers())?;
    let port = port_of(request.query_string())?;
    let target = SocketAddr::new(api.bounds.netcheck_host, port);
    let inside = api.dispatcher.net_check(target.ip(), port);
    let (inside, outside) = tokio::join!(inside, try_from_service(target));
    let inside = inside?;
    let status = access_name(inside.reached);
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
            status: access_name(outside.is_ok()),
            detail: outside.err().unwrap_or_else(|| "connected".to_owned()),
        },
    };
    json(StatusCode::OK, &view)
}

fn access_name(reached: bool) -> &'static str {
    if reached { "allowed" } else { "restricted" }
}

async fn try_from_service(target: SocketAddr) -> Result<(), String> {
    match tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(target)).await {
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

//! Changes of tenants (`sandpiper tenants`), made by the running service.

use super::{CommandError, exit_code};
use crate::config::{RunningService, TenantsCommand};
use sandpiper_domain::Tenant;
use sandpiper_http_kit::local_address;
use serde_json::{Value, json};
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;
use ureq::http::{Method, Request};

/// Longest that a change may take. A change of many jobs takes seconds.
const CHANGE_WITHIN: Duration = Duration::from_secs(120);

/// Runs a command that changes tenants. Exit status 1 means that the service refused the change or did not respond.
pub fn tenants(command: &TenantsCommand) -> Result<ExitCode, CommandError> {
    let (service, method, path, body) = match command {
        TenantsCommand::Assign(options) => (
            &options.service,
            Method::POST,
            format!("{}/assign", options.from),
            json!({ "key": options.key.to_string(), "to": options.to }),
        ),
        TenantsCommand::Purge(options) => (
            &options.service,
            Method::DELETE,
            options.tenant.to_string(),
            Value::Null,
        ),
        TenantsCommand::Restore(options) => (
            &options.service,
            Method::POST,
            format!("{}/restore", options.tenant),
            Value::Null,
        ),
    };
    send(service, method, &path, &body)
}

/// Sends a change to the service, as an operator, and prints the response.
fn send(
    service: &RunningService,
    method: Method,
    path: &str,
    body: &Value,
) -> Result<ExitCode, CommandError> {
    let address = local_address(service.host, service.port);
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(CHANGE_WITHIN))
        .proxy(None)
        .build()
        .new_agent();
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{address}/api/tenants/{path}"))
        .header("sandpiper-tenant", Tenant::DEFAULT)
        .header("sandpiper-scopes", "admin");
    let sent = if body.is_null() {
        request.body(()).map(|request| agent.run(request))
    } else {
        let request = request.header("content-type", "application/json");
        let request = request.body(body.to_string());
        request.map(|request| agent.run(request))
    };
    let result = sent.unwrap_or_else(|error| Err(error.into()));
    let result = result.and_then(|mut response| {
        let text = response.body_mut().read_to_string()?;
        Ok((response.status().is_success(), text))
    });
    let mut out = io::stdout().lock();
    let is_changed = match result {
        Ok((is_changed, text)) => {
            if !text.is_empty() {
                writeln!(out, "{text}")?;
            }
            is_changed
        }
        Err(error) => {
            writeln!(out, "http://{address} does not respond: {error}")?;
            false
        }
    };
    Ok(exit_code(is_changed))
}

//! Changes of tenants (`sandpiper tenants`), made by the running service.

use super::{CommandError, exit_code};
use crate::config::{AssignOptions, RunningService, TenantsCommand};
use sandpiper_domain::Tenant;
use sandpiper_http_kit::local_address;
use serde_json::{Value, json};
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

/// Longest that a change may take. A change of many jobs takes seconds.
const CHANGE_WITHIN: Duration = Duration::from_secs(120);

/// Runs a command that changes tenants. Exit status 1 means that the service refused the change or did not respond.
pub fn tenants(command: &TenantsCommand) -> Result<ExitCode, CommandError> {
    match command {
        TenantsCommand::Assign(options) => assign(options),
    }
}

fn assign(options: &AssignOptions) -> Result<ExitCode, CommandError> {
    let path = format!("/api/tenants/{}/assign", options.from);
    let body = json!({ "key": options.key.to_string(), "to": options.to });
    post(&options.service, &path, &body)
}

/// Sends a change to the service, as an operator.
fn post(service: &RunningService, path: &str, body: &Value) -> Result<ExitCode, CommandError> {
    let address = local_address(service.host, service.port);
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(CHANGE_WITHIN))
        .proxy(None)
        .build()
        .new_agent();
    let request = agent
        .post(format!("http://{address}{path}"))
        .header("content-type", "application/json")
        .header("sandpiper-tenant", Tenant::DEFAULT)
        .header("sandpiper-scopes", "admin");
    let result = request.send(body.to_string()).and_then(|mut response| {
        let text = response.body_mut().read_to_string()?;
        Ok((response.status().is_success(), text))
    });
    let mut out = io::stdout().lock();
    let is_changed = match result {
        Ok((is_changed, text)) => {
            writeln!(out, "{text}")?;
            is_changed
        }
        Err(error) => {
            writeln!(out, "http://{address} does not respond: {error}")?;
            false
        }
    };
    Ok(exit_code(is_changed))
}

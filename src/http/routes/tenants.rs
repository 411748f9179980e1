//! `/api/tenants`: changes of tenants, for keys with the scope `admin`.

use super::json;
use crate::http::Api;
use crate::http::body::{self, BodyType};
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use sandpiper_domain::{ApiKeyId, Tenant};
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use utoipa::ToSchema;

/// A key and its new tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Assignment {
    /// ID of the key, 16 hexadecimal digits.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    key: String,
    /// New tenant of the key.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    to: String,
}

/// The jobs that changed their tenant.
#[derive(Debug, Serialize, ToSchema)]
struct Assigned {
    /// New tenant of the jobs.
    #[schema(value_type = String)]
    tenant: Tenant,
    /// Number of stored jobs.
    jobs: u64,
}

/// Assign a key's jobs to another tenant
///
/// Moves the jobs that a key submitted for one tenant to another tenant. Needs a key with the scope `admin`. A repeated
/// request moves the rest.
#[utoipa::path(
    post,
    operation_id = "assignKey", path = "/api/tenants/{tenant}/assign",
    tag = "tenants",
    params(("tenant" = String, Path, description = "Tenant that the jobs belong to")),
    request_body = Assignment,
    responses((status = 200, description = "The jobs have been moved", body = Assigned))
)]
pub(super) async fn assign(
    api: Data<Api>,
    caller: Caller,
    request: HttpRequest,
    path: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    caller.check_admin()?;
    let from = tenant_of("tenant", &path)?;
    if body::type_of(request.headers())? != BodyType::Json {
        let detail = "send `Content-Type: application/json`";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let body = body::read(&api, &request, payload).await?;
    let assignment: Assignment = serde_json::from_slice(&body)
        .map_err(|error| Problem::new(Code::InvalidJson, format!("the body: {error}")))?;
    let key = ApiKeyId::from_str(&assignment.key)
        .map_err(|error| Problem::invalid_field("key", format!("`key`: {error}")))?;
    let to = tenant_of("to", &assignment.to)?;
    if to.client().is_none() {
        let detail = "`to` must not be the tenant of requests without a key";
        return Err(Problem::invalid_field("to", detail));
    }
    let jobs = match from == to {
        true => 0,
        false => api.dispatcher.assign(key, &from, &to).await?,
    };
    json(StatusCode::OK, &Assigned { tenant: to, jobs })
}

fn tenant_of(field: &str, text: &str) -> Result<Tenant, Problem> {
    let tenant = Tenant::from_str(text);
    tenant.map_err(|error| Problem::invalid_field(field, format!("`{field}`: {error}")))
}

/// A tenant whose jobs were deleted.
#[derive(Debug, Serialize, ToSchema)]
struct PurgedTenant {
    /// Tenant that was purged.
    #[schema(value_type = String)]
    tenant: Tenant,
    /// Number of deleted jobs.
    jobs: u64,
}

/// Purge a tenant
///
/// Stops the tenant's jobs and deletes everything that is stored about them. From then on the tenant's keys are not
/// accepted. Needs a key with the scope `admin`.
#[utoipa::path(
    delete,
    operation_id = "purgeTenant", path = "/api/tenants/{tenant}",
    tag = "tenants",
    params(("tenant" = String, Path, description = "Tenant to purge")),
    responses((status = 200, description = "The tenant was purged", body = PurgedTenant))
)]
pub(super) async fn purge(
    api: Data<Api>,
    caller: Caller,
    path: Path<String>,
) -> Result<HttpResponse, Problem> {
    caller.check_admin()?;
    let tenant = tenant_of("tenant", &path)?;
    caller.check_known(&api, &tenant).await?;
    let jobs = api.dispatcher.purge_tenant(&tenant).await?;
    json(StatusCode::OK, &PurgedTenant { tenant, jobs })
}

/// Restore a tenant
///
/// Accepts the keys of a purged tenant again. Deleted jobs stay deleted. Needs a key with the scope `admin`.
#[utoipa::path(
    post,
    operation_id = "restoreTenant", path = "/api/tenants/{tenant}/restore",
    tag = "tenants",
    params(("tenant" = String, Path, description = "Tenant that was purged")),
    responses((status = 204, description = "The tenant's keys are accepted"))
)]
pub(super) async fn restore(
    api: Data<Api>,
    caller: Caller,
    path: Path<String>,
) -> Result<HttpResponse, Problem> {
    caller.check_admin()?;
    let tenant = tenant_of("tenant", &path)?;
    caller.check_known(&api, &tenant).await?;
    api.dispatcher.restore_tenant(&tenant).await?;
    Ok(HttpResponse::NoContent().finish())
}

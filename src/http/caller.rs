//! The caller of a request: its client, the owner of the jobs that it submits, and the jobs that it may see.
//!
//! The ingress checks API keys and reports them in headers. The service believes these headers only where
//! `--client-header` says that a trusted proxy sets them, and refuses them elsewhere: jobs of different tenants would
//! otherwise become jobs of one.

use super::Api;
use super::budget::BUDGET;
use super::client::client_of;
use super::problem::{Code, Problem};
use crate::actors::types::DispatchError;
use actix_web::dev::Payload;
use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use sandpiper_domain::{Access, ApiKeyId, ClientKey, Owner, Tenant};
use sandpiper_http_kit::scopes::Scope;
use std::future::{Ready, ready};
use std::str::FromStr;

const TENANT: HeaderName = HeaderName::from_static("sandpiper-tenant");
const KEY: HeaderName = HeaderName::from_static("sandpiper-key");
const SCOPES: HeaderName = HeaderName::from_static("sandpiper-scopes");
/// The tenant that the request names, if a key of the ingress has it.
const KNOWN_TENANT: HeaderName = HeaderName::from_static("sandpiper-known-tenant");

#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) client: ClientKey,
    pub(super) owner: Owner,
    pub(super) access: Access,
    /// A tenant that the ingress knows, beside those that the store knows.
    known: Option<Tenant>,
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(match request.app_data::<Data<Api>>() {
            Some(api) => Self::of(api, request),
            None => Err(Problem::new(Code::Internal, "the service is not ready")),
        })
    }
}

impl Caller {
    fn of(api: &Api, request: &HttpRequest) -> Result<Self, Problem> {
        let caller = Self::of_headers(api, request)?;
        if api.dispatcher.is_purged(&caller.owner.tenant) {
            return Err(DispatchError::TenantPurged.into());
        }
        Ok(caller)
    }

    fn of_headers(api: &Api, request: &HttpRequest) -> Result<Self, Problem> {
        let client = client_of(api, request);
        let headers = request.headers();
        if api.bounds.client_header.is_none() {
            check_absent(headers)?;
            return Ok(Self::of_owner(client, Owner::default()));
        }
        let key: Option<ApiKeyId> = read(headers, &KEY)?;
        let Some(tenant) = read::<Tenant>(headers, &TENANT)? else {
            let owner = Owner::of_client(&client);
            return Ok(Self::of_owner(client, owner));
        };
        let owner = Owner { tenant, key };
        let access = match text(headers, &SCOPES)? {
            None => Access::Tenant(owner.tenant.clone()),
            Some(scopes) => access_of(scopes, &owner)?,
        };
        // All keys of a tenant are one client.
        let client = match owner.tenant.client() {
            Some(client) => client,
            None if client.is_tenant() => {
                return Err(invalid(&TENANT, "is not that of the client"));
            }
            None => client,
        };
        Ok(Self {
            client,
            owner,
            access,
            known: read(headers, &KNOWN_TENANT)?,
        })
    }

    fn of_owner(client: ClientKey, owner: Owner) -> Self {
        let access = Access::Tenant(owner.tenant.clone());
        Self {
            client,
            owner,
            access,
            known: None,
        }
    }

    #[cfg(test)]
    pub(super) fn of_tenant(tenant: Tenant) -> Self {
        let owner = Owner { tenant, key: None };
        Self::of_owner(ClientKey::new("test"), owner)
    }

    pub(super) fn is_admin(&self) -> bool {
        self.access == Access::All
    }

    /// Refuses a caller that may not change tenants.
    pub(super) fn check_admin(&self) -> Result<(), Problem> {
        if self.is_admin() {
            return Ok(());
        }
        let detail = "this needs a key with the scope `admin`";
        Err(Problem::new(Code::Forbidden, detail))
    }

    /// Returns true if the caller may see numbers that concern all tenants together.
    pub(super) fn may_see_totals(&self) -> bool {
        self.is_admin() || self.owner.tenant == Tenant::default()
    }

    /// Refuses a tenant that nothing is known of: neither the store nor the ingress has it.
    pub(super) async fn check_known(&self, api: &Api, tenant: &Tenant) -> Result<(), Problem> {
        let is_known = self.owner.tenant == *tenant || self.known.as_ref() == Some(tenant);
        if is_known
            || api.usage.has_unwritten(tenant)
            || api.dispatcher.knows_tenant(tenant).await?
        {
            return Ok(());
        }
        let detail = format!(
            "there is no tenant {tenant}: no key has it, and no job and no usage belongs to it; check the spelling"
        );
        Err(Problem::new(Code::UnknownTenant, detail))
    }

    /// Refuses an empty answer about a tenant that nothing is known of.
    pub(super) async fn check_empty(&self, api: &Api, access: &Access) -> Result<(), Problem> {
        match access {
            Access::Tenant(tenant) if self.is_admin() => self.check_known(api, tenant).await,
            Access::All | Access::Tenant(_) | Access::Key(..) => Ok(()),
        }
    }

    /// Returns the access to the jobs of one tenant, or all access that the caller has if the request names no tenant.
    pub(super) fn narrowed_to(&self, tenant: Option<&str>) -> Result<Access, Problem> {
        let Some(tenant) = tenant else {
            return Ok(self.access.clone());
        };
        let tenant = Tenant::from_str(tenant)
            .map_err(|error| Problem::invalid_field("tenant", format!("`tenant`: {error}")))?;
        if self.is_admin() {
            return Ok(Access::Tenant(tenant));
        }
        if tenant != self.owner.tenant {
            let detail =
                "`tenant` is another tenant's; only a key with the scope `admin` may name it";
            return Err(Problem::new(Code::Forbidden, detail).with("field", "tenant"));
        }
        Ok(self.access.clone())
    }
}

/// Returns true if the request may see the load of the service, which all tenants cause together.
///
/// An ingress with keys sends the scopes of the key, and an empty list for a request without a key. A request without the
/// list came without such an ingress. The list can only take something from such a request, so it is believed from anyone.
pub(super) fn may_see_load(headers: &HeaderMap) -> bool {
    match text(headers, &SCOPES) {
        Ok(None) => true,
        Ok(Some(scopes)) => Scope::Admin.is_listed(scopes),
        Err(_) => false,
    }
}

/// Returns the access of a key with these scopes.
fn access_of(scopes: &str, owner: &Owner) -> Result<Access, Problem> {
    if Scope::Admin.is_listed(scopes) {
        return Ok(Access::All);
    }
    if Scope::Read.is_listed(scopes) {
        return Ok(Access::Tenant(owner.tenant.clone()));
    }
    match owner.key {
        Some(key) => Ok(Access::Key(owner.tenant.clone(), key)),
        None => Err(invalid(&KEY, "is missing")),
    }
}

/// Refuses the headers of a tenant where nothing says that a trusted proxy sets them.
fn check_absent(headers: &HeaderMap) -> Result<(), Problem> {
    if [TENANT, KEY, SCOPES, BUDGET]
        .iter()
        .any(|name| headers.contains_key(name))
    {
        let detail = "the request names a tenant, and this service does not trust that header; start the service with \
            `--client-header sandpiper-client` behind an ingress that checks keys";
        return Err(Problem::new(Code::Forbidden, detail));
    }
    Ok(())
}

fn read<T: FromStr<Err: ToString>>(
    headers: &HeaderMap,
    name: &HeaderName,
) -> Result<Option<T>, Problem> {
    let text = text(headers, name)?;
    let value = text.map(str::parse).transpose();
    value.map_err(|error: T::Err| invalid(name, &format!("is not valid: {}", error.to_string())))
}

/// Returns the text of a header that may be given once.
pub(super) fn text<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(invalid(name, "is given twice"));
    }
    match value.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(invalid(name, "is not text")),
    }
}

fn invalid(name: &HeaderName, fault: &str) -> Problem {
    Problem::invalid_field(name.as_str(), format!("the header `{name}` {fault}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00000000000000ff";

    fn owner() -> Owner {
        Owner {
            tenant: "acme".parse().unwrap(),
            key: ID.parse().ok(),
        }
    }

    #[test]
    fn the_scopes_of_a_key_decide_which_jobs_it_sees() {
        let access = |scopes| access_of(scopes, &owner()).unwrap();
        let tenant = || Tenant::from_str("acme").unwrap();
        assert_eq!(access("execute,jobs,read"), Access::Tenant(tenant()));
        assert_eq!(access("admin"), Access::All);
        assert_eq!(access("jobs, admin"), Access::All);
        for narrow in ["execute", "execute,jobs", "", "readmin", "Read"] {
            let own = Access::Key(tenant(), ID.parse().unwrap());
            assert_eq!(access(narrow), own, "{narrow}");
        }
        let without_key = Owner {
            key: None,
            ..owner()
        };
        assert!(access_of("execute", &without_key).is_err());
    }

    #[test]
    fn the_load_is_seen_without_keys_and_with_the_scope_admin() {
        let headers = |values: &[&str]| -> HeaderMap {
            let values = values.iter().map(|value| value.parse().unwrap());
            values.map(|value| (SCOPES, value)).collect()
        };
        assert!(may_see_load(&headers(&[])));
        assert!(may_see_load(&headers(&["admin,execute"])));
        for scopes in [&[""][..], &["execute,jobs,read"], &["admin", "admin"]] {
            assert!(!may_see_load(&headers(scopes)), "{scopes:?}");
        }
    }

    #[test]
    fn only_an_admin_may_name_another_tenant() {
        let caller = |access| Caller {
            client: ClientKey::new("tenant:acme"),
            owner: owner(),
            access,
            known: None,
        };
        let own = caller(Access::Tenant(owner().tenant));
        assert_eq!(own.narrowed_to(None).unwrap(), own.access);
        assert_eq!(own.narrowed_to(Some("acme")).unwrap(), own.access);
        assert!(own.narrowed_to(Some("other")).is_err());
        let admin = caller(Access::All);
        let other = Access::Tenant("other".parse().unwrap());
        assert_eq!(admin.narrowed_to(Some("other")).unwrap(), other);
        assert_eq!(admin.narrowed_to(None).unwrap(), Access::All);
        assert!(admin.narrowed_to(Some("a b")).is_err());
    }
}

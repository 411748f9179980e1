//! The target of a request, read from its method and raw path: its rate-limit class and the key that it needs.
//!
//! The path is forwarded to the service unchanged. The ingress and the service both reject ambiguous paths
//! (`sandpiper_http_kit::path`), so that both decide on the same form.

use crate::limits::Class;
use actix_web::http::{Method, Uri};
use sandpiper_http_kit::path;
use sandpiper_http_kit::scopes::{Access, access, is_below};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The service.
    Api { class: Class, access: Access },
    /// A CORS preflight for the API.
    Preflight,
    /// `GET /ingress/live`
    Live,
    /// `GET /ingress/ready`
    Ready,
    /// A page, or a path that nothing serves.
    Page,
}

/// A request has no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetError {
    /// The method is `TRACE` or `CONNECT`, which are never forwarded.
    Method,
    Path(path::PathError),
}

impl Target {
    pub(crate) fn of(method: &Method, uri: &Uri) -> Result<Self, TargetError> {
        if method == Method::TRACE || method == Method::CONNECT {
            return Err(TargetError::Method);
        }
        match path::below_api(uri.path()).map_err(TargetError::Path)? {
            Some(rest) => Ok(api(method, rest)),
            None => Ok(match uri.path() {
                "/ingress/live" => Self::Live,
                "/ingress/ready" => Self::Ready,
                _ => Self::Page,
            }),
        }
    }
}

fn api(method: &Method, rest: &str) -> Target {
    let class = match method.as_str() {
        // `/netcheck` starts a job process.
        _ if is_below(rest, "/execute") || is_below(rest, "/netcheck") => Class::Run,
        "GET" | "HEAD" | "OPTIONS" | "DELETE" => Class::Read,
        _ if is_below(rest, "/jobs") => Class::Run,
        _ => Class::Read,
    };
    let access = access(method.as_str(), rest);
    Target::Api { class, access }
}

/// Returns the tenant that a request names: in the path, or as `?tenant=`.
pub(crate) fn named_tenant(path: &str, query: &str) -> Option<String> {
    let rest = path::below_api(path).ok()??;
    if let Some(below) = rest.strip_prefix("/tenants/") {
        return below.split('/').next().map(str::to_owned);
    }
    let mut parameters = url::form_urlencoded::parse(query.as_bytes());
    let (_, tenant) = parameters.find(|(name, _)| name == "tenant")?;
    Some(tenant.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: Method, path: &str) -> Result<Target, TargetError> {
        Target::of(&method, &path.parse().unwrap())
    }

    #[test]
    fn requests_that_run_code_have_their_own_class() {
        for (method, path, expected) in [
            (Method::POST, "/api/execute", Class::Run),
            (Method::POST, "/api/execute?file=x", Class::Run),
            (Method::GET, "/api/netcheck?port=80", Class::Run),
            (Method::POST, "/api/jobs", Class::Run),
            (Method::POST, "/api/jobs/x/answers", Class::Run),
            (Method::PUT, "/api/jobs/x", Class::Run),
            (Method::DELETE, "/api/jobs/x", Class::Read),
            (Method::GET, "/api/jobs", Class::Read),
            (Method::POST, "/api/tenants/a/assign", Class::Read),
            (Method::GET, "/api/health/ready", Class::Read),
            (Method::GET, "/api", Class::Read),
        ] {
            match of(method, path) {
                Ok(Target::Api { class, .. }) => assert_eq!(class, expected, "{path}"),
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_key_is_that_of_the_route_without_the_query() {
        for (path, route) in [
            ("/api/jobs/x?a=b", "/jobs/{id}"),
            ("/api/jobs?limit=1", "/jobs"),
            ("/api/usage?by=day", "/usage"),
            ("/api", ""),
        ] {
            match of(Method::GET, path) {
                Ok(Target::Api { access: needed, .. }) => {
                    assert_eq!(needed, access("GET", route), "{path}");
                }
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    #[test]
    fn only_the_api_goes_to_the_service() {
        for path in [
            "/",
            "/apis",
            "/api.js",
            "/metrics",
            "//host/api",
            "/apis/%61pi",
        ] {
            assert_eq!(of(Method::GET, path), Ok(Target::Page), "{path}");
        }
        assert_eq!(
            of(Method::GET, "http://elsewhere/metrics"),
            Ok(Target::Page)
        );
        assert!(matches!(
            of(Method::GET, "http://elsewhere/api"),
            Ok(Target::Api { .. })
        ));
    }

    #[test]
    fn an_ambiguous_path_has_no_target() {
        for path in [
            "/%61pi",
            "//api",
            "/API",
            "/api%2Fexecute",
            "/api/",
            "/api/..",
            "/api/execute/",
        ] {
            assert!(
                matches!(of(Method::GET, path), Err(TargetError::Path(_))),
                "{path}"
            );
        }
    }

    #[test]
    fn a_tenant_is_named_in_the_path_or_in_the_query() {
        for (path, query, tenant) in [
            ("/api/tenants/acme", "", Some("acme")),
            ("/api/tenants/key:0a/restore", "tenant=b", Some("key:0a")),
            ("/api/jobs", "limit=1&tenant=acme", Some("acme")),
            ("/api/usage", "tenant=key%3A0a", Some("key:0a")),
            ("/api/usage", "by=day", None),
            ("/api", "", None),
            ("/tenants/acme", "tenant=acme", None),
        ] {
            assert_eq!(
                named_tenant(path, query).as_deref(),
                tenant,
                "{path}?{query}"
            );
        }
    }

    #[test]
    fn methods_for_proxies_are_rejected() {
        assert_eq!(of(Method::TRACE, "/api"), Err(TargetError::Method));
        assert_eq!(of(Method::CONNECT, "host:443"), Err(TargetError::Method));
    }
}

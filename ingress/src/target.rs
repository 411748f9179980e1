//! The target of a request, read from its method and raw path: its rate-limit class and the key that it needs.
//!
//! The path is forwarded to the service unchanged. The ingress and the service both reject ambiguous paths
//! (`sandpiper_http_kit::path`), so that both decide on the same form.

use crate::keys::Scope;
use crate::limits::Class;
use actix_web::http::{Method, Uri};
use sandpiper_http_kit::path;

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

/// The key that a request to the API needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// No key.
    Public,
    /// A key with any scopes.
    AnyKey,
    /// A key with at least one of these scopes.
    AnyOf(&'static [Scope]),
}

const EXECUTE: Access = Access::AnyOf(&[Scope::Execute]);
const JOBS: Access = Access::AnyOf(&[Scope::Jobs]);
const READ: Access = Access::AnyOf(&[Scope::Read]);
const ADMIN: Access = Access::AnyOf(&[Scope::Admin]);
/// The service shows a key without the scope `read` only the jobs that the key submitted itself.
const ONE_JOB: Access = Access::AnyOf(&[Scope::Read, Scope::Execute, Scope::Jobs]);

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
    let is_below = |parent: &str| {
        let below = rest.strip_prefix(parent);
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    };
    // `/netcheck` starts a job process.
    let (class, access) = if is_below("/execute") || is_below("/netcheck") {
        (Class::Run, EXECUTE)
    } else if is_below("/jobs") {
        match *method {
            Method::GET | Method::HEAD if rest != "/jobs" => (Class::Read, ONE_JOB),
            Method::GET | Method::HEAD | Method::OPTIONS => (Class::Read, READ),
            Method::DELETE => (Class::Read, JOBS),
            _ => (Class::Run, JOBS),
        }
    } else if is_below("/tenants") {
        (Class::Read, ADMIN)
    } else if rest == "/usage" {
        // The service shows a key its own usage.
        (Class::Read, Access::AnyKey)
    } else if PUBLIC.iter().any(|path| is_below(path)) || rest.is_empty() {
        (Class::Read, Access::Public)
    } else {
        // Routes that the service adds later need a key that may read.
        (Class::Read, READ)
    };
    Target::Api { class, access }
}

/// The paths below `/api` that show no job and run no code.
const PUBLIC: [&str; 5] = ["/health", "/scripts", "/openapi.json", "/docs", "/docs.css"];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: Method, path: &str) -> Result<Target, TargetError> {
        Target::of(&method, &path.parse().unwrap())
    }

    #[test]
    fn requests_that_run_code_have_their_own_class() {
        let run = |access| {
            let class = Class::Run;
            Ok(Target::Api { class, access })
        };
        let read = |access| {
            let class = Class::Read;
            Ok(Target::Api { class, access })
        };
        assert_eq!(of(Method::POST, "/api/execute"), run(EXECUTE));
        assert_eq!(of(Method::POST, "/api/execute?file=x"), run(EXECUTE));
        assert_eq!(of(Method::GET, "/api/netcheck?port=80"), run(EXECUTE));
        assert_eq!(of(Method::POST, "/api/jobs"), run(JOBS));
        assert_eq!(of(Method::DELETE, "/api/jobs/x"), read(JOBS));
        assert_eq!(of(Method::GET, "/api/jobs"), read(READ));
        assert_eq!(of(Method::DELETE, "/api/tenants/acme"), read(ADMIN));
        assert_eq!(of(Method::POST, "/api/tenants/a/assign"), read(ADMIN));
        assert_eq!(of(Method::GET, "/api/tenants"), read(ADMIN));
        assert_eq!(of(Method::GET, "/api/health/ready"), read(Access::Public));
        assert_eq!(of(Method::GET, "/api"), read(Access::Public));
        assert_eq!(of(Method::GET, "/api/healthier"), read(READ));
    }

    #[test]
    fn one_job_is_read_with_any_scope_and_usage_with_any_key() {
        let access = |method, path| match of(method, path) {
            Ok(Target::Api { access, .. }) => access,
            other => panic!("{other:?}"),
        };
        for path in ["/api/jobs/x", "/api/jobs/x?a=b", "/api/jobs/x/events"] {
            assert_eq!(access(Method::GET, path), ONE_JOB, "{path}");
            assert_eq!(access(Method::HEAD, path), ONE_JOB, "{path}");
            assert_eq!(access(Method::PUT, path), JOBS, "{path}");
            assert_eq!(access(Method::OPTIONS, path), READ, "{path}");
        }
        assert_eq!(access(Method::HEAD, "/api/jobs?limit=1"), READ);
        assert_eq!(access(Method::GET, "/api/usage?by=day"), Access::AnyKey);
        assert_eq!(access(Method::GET, "/api/usages"), READ);
        assert_eq!(access(Method::GET, "/api/usage/x"), READ);
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
    fn methods_for_proxies_are_rejected() {
        assert_eq!(of(Method::TRACE, "/api"), Err(TargetError::Method));
        assert_eq!(of(Method::CONNECT, "host:443"), Err(TargetError::Method));
    }
}

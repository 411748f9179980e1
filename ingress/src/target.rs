//! The target of a request, read from its method and raw path: its rate-limit class and the scope that a key must have.
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
    Api {
        class: Class,
        /// The scope that a key must have; `None` where no key is needed.
        scope: Option<Scope>,
    },
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
    let is_below = |parent: &str| {
        let below = rest.strip_prefix(parent);
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    };
    // `/netcheck` starts a job process.
    let (class, scope) = if is_below("/execute") || is_below("/netcheck") {
        (Class::Run, Some(Scope::Execute))
    } else if is_below("/jobs") {
        match *method {
            Method::GET | Method::HEAD | Method::OPTIONS => (Class::Read, Some(Scope::Read)),
            Method::DELETE => (Class::Read, Some(Scope::Jobs)),
            _ => (Class::Run, Some(Scope::Jobs)),
        }
    } else if PUBLIC.iter().any(|path| is_below(path)) || rest.is_empty() {
        (Class::Read, None)
    } else {
        // Routes that the service adds later need a key that may read.
        (Class::Read, Some(Scope::Read))
    };
    Target::Api { class, scope }
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
        let run = |scope| {
            Ok(Target::Api {
                class: Class::Run,
                scope: Some(scope),
            })
        };
        let read = |scope| {
            Ok(Target::Api {
                class: Class::Read,
                scope,
            })
        };
        assert_eq!(of(Method::POST, "/api/execute"), run(Scope::Execute));
        assert_eq!(of(Method::POST, "/api/execute?file=x"), run(Scope::Execute));
        assert_eq!(
            of(Method::GET, "/api/netcheck?port=80"),
            run(Scope::Execute)
        );
        assert_eq!(of(Method::POST, "/api/jobs"), run(Scope::Jobs));
        assert_eq!(of(Method::DELETE, "/api/jobs/x"), read(Some(Scope::Jobs)));
        assert_eq!(
            of(Method::GET, "/api/jobs/x/events"),
            read(Some(Scope::Read))
        );
        assert_eq!(of(Method::GET, "/api/health/ready"), read(None));
        assert_eq!(of(Method::GET, "/api"), read(None));
        assert_eq!(of(Method::GET, "/api/healthier"), read(Some(Scope::Read)));
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

//! What a request is for, read from its method and raw path. Decides what it counts as and what a key must allow.
//!
//! The path is not decoded or rewritten on its way to the service. A path with more than one reading is refused
//! (`sandpiper_http_kit::path`), here and by the service, so that both decide on the same form.

use crate::keys::Scope;
use crate::limits::Class;
use actix_web::http::{Method, Uri};
use sandpiper_http_kit::path;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The service.
    Api {
        /// What it counts as.
        class: Class,
        /// What a key must allow; `None` where no key is needed.
        scope: Option<Scope>,
    },
    /// A browser's question whether a page of another origin may use the API.
    Preflight,
    /// `GET /ingress/live`
    Live,
    /// `GET /ingress/ready`
    Ready,
    /// A page, if there is one.
    Page,
}

/// Why a request is for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoTarget {
    /// `TRACE` and `CONNECT` are never passed on.
    Method,
    /// The path has more than one reading.
    Path(path::Refusal),
}

impl Target {
    /// What a request of this method and target is for.
    pub(crate) fn of(method: &Method, uri: &Uri) -> Result<Self, NoTarget> {
        if method == Method::TRACE || method == Method::CONNECT {
            return Err(NoTarget::Method);
        }
        match path::below_api(uri.path()).map_err(NoTarget::Path)? {
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
    let (class, scope) = if is_below("/execute") {
        (Class::Run, Some(Scope::Execute))
    } else if is_below("/netcheck") {
        // It runs a job process.
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
        // Whatever the service may come to have.
        (Class::Read, Some(Scope::Read))
    };
    Target::Api { class, scope }
}

/// Below `/api`, what shows nothing of any job and runs nothing.
const PUBLIC: [&str; 5] = ["/health", "/scripts", "/openapi.json", "/docs", "/docs.css"];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: Method, path: &str) -> Result<Target, NoTarget> {
        Target::of(&method, &path.parse().unwrap())
    }

    #[test]
    fn code_is_run_and_the_rest_is_read() {
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
    fn only_the_api_is_the_services() {
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
    fn a_path_with_two_readings_is_for_nothing() {
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
                matches!(of(Method::GET, path), Err(NoTarget::Path(_))),
                "{path}"
            );
        }
    }

    #[test]
    fn methods_that_speak_to_the_proxy_are_refused() {
        assert_eq!(of(Method::TRACE, "/api"), Err(NoTarget::Method));
        assert_eq!(of(Method::CONNECT, "host:443"), Err(NoTarget::Method));
    }
}

//! What a request is for, read from its method and raw path. Decides what it counts as and what a key must allow.
//!
//! The path is never decoded or rewritten on its way to the service, so nothing here may depend on how it would be read
//! there: what could be read in two ways is refused.

use crate::keys::Scope;
use crate::limits::Class;
use actix_web::http::{Method, Uri};
use std::borrow::Cow;

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
    /// The path has `.` or `..` in it, however written.
    DotSegment,
}

impl Target {
    /// What a request of this method and target is for.
    pub(crate) fn of(method: &Method, uri: &Uri) -> Result<Self, NoTarget> {
        if method == Method::TRACE || method == Method::CONNECT {
            return Err(NoTarget::Method);
        }
        let path = uri.path();
        if has_dot_segment(path) {
            return Err(NoTarget::DotSegment);
        }
        match path {
            "/ingress/live" => return Ok(Self::Live),
            "/ingress/ready" => return Ok(Self::Ready),
            _ => {}
        }
        let Some(rest) = path.strip_prefix("/api") else {
            return Ok(Self::Page);
        };
        if !(rest.is_empty() || rest.starts_with('/')) {
            return Ok(Self::Page);
        }
        Ok(api(method, rest))
    }
}

fn api(method: &Method, rest: &str) -> Target {
    let is_below = |parent: &str| {
        rest.strip_prefix(parent)
            .is_some_and(|below| below.is_empty() || below.starts_with('/'))
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
const PUBLIC: [&str; 4] = ["/health", "/scripts", "/openapi.json", "/docs"];

/// Whether a segment of the path is `.` or `..`, also where dots or the slashes beside them are percent-encoded, or slashes
/// are backslashes.
fn has_dot_segment(path: &str) -> bool {
    if !path.contains('.') && !path.contains("%2") {
        return false;
    }
    let plain: Cow<'_, str> = if path.contains('%') || path.contains('\\') {
        let lower = path.to_ascii_lowercase();
        let dots = lower.replace("%2e", ".");
        Cow::Owned(
            dots.replace("%2f", "/")
                .replace("%5c", "/")
                .replace('\\', "/"),
        )
    } else {
        Cow::Borrowed(path)
    };
    plain
        .split('/')
        .any(|segment| segment == "." || segment == "..")
}

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
        assert_eq!(of(Method::POST, "/api/execute/"), run(Scope::Execute));
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
        assert_eq!(of(Method::GET, "/api/"), read(Some(Scope::Read)));
    }

    #[test]
    fn only_the_api_is_the_services() {
        for path in [
            "/",
            "/apis",
            "/api.js",
            "/metrics",
            "/%61pi",
            "//api",
            "/API",
            "//host/api",
            "/api%2Fexecute",
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
    fn dots_that_lead_elsewhere_are_refused_however_they_are_written() {
        for path in [
            "/api/../metrics",
            "/api/..",
            "/api/./health",
            "/api/%2e%2e/metrics",
            "/api/%2E./metrics",
            "/api/x%2f..%2f..%2fmetrics",
            "/api/..%5cmetrics",
            "/..",
        ] {
            assert_eq!(of(Method::GET, path), Err(NoTarget::DotSegment), "{path}");
        }
        for path in [
            "/api/scripts/a..b.js",
            "/api/scripts/...",
            "/api/%2eb",
            "/api?x=../..",
            "/a.b",
        ] {
            assert!(of(Method::GET, path).is_ok(), "{path}");
        }
    }

    #[test]
    fn methods_that_speak_to_the_proxy_are_refused() {
        assert_eq!(of(Method::TRACE, "/api"), Err(NoTarget::Method));
        assert_eq!(of(Method::CONNECT, "host:443"), Err(NoTarget::Method));
    }
}

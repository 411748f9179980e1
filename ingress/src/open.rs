//! The routes of a public demonstration (`--open`): anyone may run code, and read, follow, answer or stop a job by its id.
//!
//! The list of allowed routes is closed: a new route of the service is rejected until it is added here.

use actix_web::http::Method;

/// Returns true if a demonstration serves this path below `/api`. Lists of jobs are not served.
pub(crate) fn allows(method: &Method, path: &str) -> bool {
    let mut segments = path.strip_prefix("/api").unwrap_or(path).split('/').skip(1);
    match (segments.next().unwrap_or_default(), segments.next()) {
        ("jobs", None | Some("")) => method == Method::POST,
        (
            "" | "execute" | "jobs" | "netcheck" | "health" | "scripts" | "openapi.json" | "docs"
            | "docs.css",
            _,
        ) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_reached_by_id_and_not_listed() {
        for (method, path) in [
            (Method::GET, "/api"),
            (Method::POST, "/api/execute"),
            (Method::POST, "/api/jobs"),
            (Method::GET, "/api/jobs/1"),
            (Method::GET, "/api/jobs/1/events"),
            (Method::POST, "/api/jobs/1/answers"),
            (Method::DELETE, "/api/jobs/1"),
            (Method::GET, "/api/netcheck"),
            (Method::GET, "/api/health/ready"),
            (Method::GET, "/api/scripts/pi.js"),
            (Method::GET, "/api/docs.css"),
        ] {
            assert!(allows(&method, path), "{method} {path}");
        }
        for (method, path) in [
            (Method::GET, "/api/jobs"),
            (Method::HEAD, "/api/jobs"),
            (Method::OPTIONS, "/api/jobs"),
            (Method::GET, "/api/jobs/"),
            (Method::GET, "/api/jobs//"),
            (Method::GET, "/api/nodes"),
            (Method::GET, "/api/whatever-comes"),
            (Method::GET, "/api/Jobs"),
            (Method::GET, "/api/%6aobs"),
        ] {
            assert!(!allows(&method, path), "{method} {path}");
        }
    }
}

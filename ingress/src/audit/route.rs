//! The route of a request, as a template without anything that the client chose, and the job that the path names.

use uuid::Uuid;

/// The label of a path that is no known route.
pub(super) const OTHER: &str = "other";

/// A known part of a request's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) template: &'static str,
    pub(super) job: Option<Uuid>,
    /// True for the health checks of the service.
    pub(super) is_health: bool,
}

impl Route {
    pub(super) const UNKNOWN: Self = Self {
        template: OTHER,
        job: None,
        is_health: false,
    };

    /// Returns the route of a path.
    pub(super) fn of(path: &str) -> Self {
        let Some(rest) = path.strip_prefix("/api") else {
            return Self::UNKNOWN;
        };
        let mut segments = rest.split('/').skip(1);
        let segments = [(); 4].map(|()| segments.next());
        let template = match segments {
            [None, ..] if rest.is_empty() => "/api",
            [Some("execute"), None, ..] => "/api/execute",
            [Some("netcheck"), None, ..] => "/api/netcheck",
            [Some("jobs"), None, ..] => "/api/jobs",
            [Some("jobs"), Some(_), None, _] => "/api/jobs/{id}",
            [Some("jobs"), Some(_), Some("events"), None] => "/api/jobs/{id}/events",
            [Some("nodes"), None, ..] => "/api/nodes",
            [Some("tenants"), Some(_), None, _] => "/api/tenants/{tenant}",
            [Some("tenants"), Some(_), Some("assign"), None] => "/api/tenants/{tenant}/assign",
            [Some("tenants"), Some(_), Some("restore"), None] => "/api/tenants/{tenant}/restore",
            [Some("usage"), None, ..] => "/api/usage",
            [Some("scripts"), None, ..] => "/api/scripts",
            [Some("scripts"), Some(_), None, _] => "/api/scripts/{name}",
            [Some("openapi.json"), None, ..] => "/api/openapi.json",
            [Some("docs"), None, ..] => "/api/docs",
            [Some("docs.css"), None, ..] => "/api/docs.css",
            _ => OTHER,
        };
        let job = match segments {
            [Some("jobs"), Some(id), ..] => id.parse().ok(),
            _ => None,
        };
        Self {
            template,
            job,
            is_health: matches!(
                segments,
                [Some("health"), None, ..] | [Some("health"), Some("live" | "ready"), None, _]
            ),
        }
    }
}

/// Returns the tenant that a path names, if it has the form of a tenant's name.
pub(super) fn tenant_of_path(path: &str) -> Option<&str> {
    const BYTES_MAX: usize = 64;
    let name = path.strip_prefix("/api/tenants/")?.split('/').next()?;
    let is_named = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    (!name.is_empty() && name.len() <= BYTES_MAX && name.bytes().all(is_named)).then_some(name)
}

/// Returns the job of a `Location` header.
pub(super) fn job_of_location(location: &str) -> Option<Uuid> {
    location.strip_prefix("/api/jobs/")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    #[test]
    fn a_path_becomes_a_template_and_a_job() {
        let job = JOB.parse().ok();
        let one = format!("/api/jobs/{JOB}");
        let events = format!("{one}/events");
        let below = format!("{one}/secret");
        for (path, template, named) in [
            ("/api", "/api", None),
            ("/api/execute", "/api/execute", None),
            ("/api/jobs", "/api/jobs", None),
            (&one, "/api/jobs/{id}", job),
            (&events, "/api/jobs/{id}/events", job),
            ("/api/jobs/secret", "/api/jobs/{id}", None),
            ("/api/tenants/secret", "/api/tenants/{tenant}", None),
            (
                "/api/tenants/key:secret/assign",
                "/api/tenants/{tenant}/assign",
                None,
            ),
            ("/api/tenants/a/secret", OTHER, None),
            ("/api/scripts/secret", "/api/scripts/{name}", None),
            (&below, OTHER, job),
            ("/api/secret", OTHER, None),
            ("/api/execute/secret", OTHER, None),
            ("/apis", OTHER, None),
            ("/", OTHER, None),
        ] {
            let route = Route::of(path);
            assert_eq!((route.template, route.job), (template, named), "{path}");
            assert!(!route.is_health, "{path}");
        }
        for path in ["/api/health", "/api/health/live", "/api/health/ready"] {
            assert!(Route::of(path).is_health, "{path}");
        }
        assert!(!Route::of("/api/health/x").is_health);
        for (path, tenant) in [
            ("/api/tenants/acme", Some("acme")),
            ("/api/tenants/key:0a/assign", Some("key:0a")),
            ("/api/tenants/", None),
            ("/api/tenants/%3Cscript%3E", None),
            ("/api/jobs/acme", None),
        ] {
            assert_eq!(tenant_of_path(path), tenant, "{path}");
        }
        assert_eq!(job_of_location(&one), job);
        assert_eq!(job_of_location(&events), None);
        assert_eq!(job_of_location("/api/jobs/x"), None);
    }
}

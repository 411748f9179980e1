//! The permissions of API keys, and the key that each request to the API needs where the ingress has keys.
//!
//! The ingress enforces this table. The service describes it in the OpenAPI description, and reads the scopes of a key by
//! the same names.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A permission of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// `POST /api/execute`, `GET /api/netcheck`
    Execute,
    /// `POST /api/jobs`, `POST /api/jobs/<id>/answers`, `DELETE /api/jobs/<id>`
    Jobs,
    /// `GET /api/jobs`, and the jobs of other keys of the same tenant
    Read,
    /// The jobs and the usage of every tenant; includes `read`
    Admin,
}

impl Scope {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Execute => "execute",
            Self::Jobs => "jobs",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    /// Returns true if a key with the scope `self` has the permission `other` too.
    pub fn includes(self, other: Self) -> bool {
        self == other || (self == Self::Admin && other == Self::Read)
    }

    /// Returns true if a list of names, separated by commas, has this scope.
    pub fn is_listed(self, names: &str) -> bool {
        names.split(',').any(|name| name.trim() == self.name())
    }
}

/// The key that a request to the API needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
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

/// The paths below `/api` that show no job and run no code.
const PUBLIC: [&str; 5] = ["/health", "/scripts", "/openapi.json", "/docs", "/docs.css"];

/// Returns the key that a request needs, by its method in capitals and its path below `/api`, such as `/jobs/{id}`.
pub fn access(method: &str, path: &str) -> Access {
    if is_below(path, "/execute") || is_below(path, "/netcheck") {
        return EXECUTE;
    }
    if is_below(path, "/jobs") {
        return match method {
            "GET" | "HEAD" if path != "/jobs" => ONE_JOB,
            "GET" | "HEAD" | "OPTIONS" => READ,
            _ => JOBS,
        };
    }
    if is_below(path, "/tenants") {
        return ADMIN;
    }
    if path == "/usage" {
        // The service shows a key its own usage.
        return Access::AnyKey;
    }
    if path.is_empty() || PUBLIC.iter().any(|parent| is_below(path, parent)) {
        return Access::Public;
    }
    // Routes that the service adds later need a key that may read.
    READ
}

/// Returns true if the path is `parent` or below it.
pub fn is_below(path: &str, parent: &str) -> bool {
    let rest = path.strip_prefix(parent);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_needs_the_key_of_its_route() {
        for (method, path, expected) in [
            ("POST", "/execute", EXECUTE),
            ("GET", "/netcheck", EXECUTE),
            ("POST", "/jobs", JOBS),
            ("POST", "/jobs/x/answers", JOBS),
            ("DELETE", "/jobs/x", JOBS),
            ("PUT", "/jobs/x", JOBS),
            ("GET", "/jobs", READ),
            ("HEAD", "/jobs", READ),
            ("GET", "/jobs/x", ONE_JOB),
            ("HEAD", "/jobs/x/events", ONE_JOB),
            ("OPTIONS", "/jobs/x", READ),
            ("DELETE", "/tenants/acme", ADMIN),
            ("POST", "/tenants/a/assign", ADMIN),
            ("GET", "/tenants", ADMIN),
            ("GET", "/usage", Access::AnyKey),
            ("GET", "/usages", READ),
            ("GET", "/usage/x", READ),
            ("GET", "/nodes", READ),
            ("GET", "/health/ready", Access::Public),
            ("GET", "/healthier", READ),
            ("GET", "", Access::Public),
        ] {
            assert_eq!(access(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_scope_is_listed_under_its_whole_name() {
        assert!(Scope::Read.is_listed("execute, read"));
        assert!(!Scope::Read.is_listed("readmin,Read"));
        assert!(!Scope::Admin.is_listed(""));
        assert!(Scope::Admin.includes(Scope::Read));
        assert!(!Scope::Admin.includes(Scope::Jobs));
    }
}

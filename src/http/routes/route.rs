//! The list of routes: the path, the methods, and the label in metrics of each.

use actix_web::HttpRequest;
use strum::VariantArray;

/// A route of the service. Requests without a route count as [`Route::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray)]
pub(in crate::http) enum Route {
    Info,
    Health,
    Live,
    Ready,
    NetCheck,
    Execute,
    Jobs,
    Job,
    JobAnswers,
    JobEvents,
    Nodes,
    Tenant,
    TenantAssign,
    TenantRestore,
    Usage,
    OpenApi,
    Docs,
    DocsStyle,
    Metrics,
    Scripts,
    Script,
    Other,
}

impl Route {
    /// Every route, in the order of the metrics.
    pub(in crate::http) const ALL: &'static [Self] = Self::VARIANTS;

    /// Returns the route of a request that has been handled.
    pub(in crate::http) fn of(request: &HttpRequest) -> Self {
        request.app_data().copied().unwrap_or(Self::Other)
    }

    /// Returns the route with this path.
    pub(in crate::http) fn at(path: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|route| route.path() == path)
    }

    /// Returns the path, which is also the label in metrics.
    pub(in crate::http) const fn path(self) -> &'static str {
        self.row().0
    }

    /// Returns the allowed methods, as the header `Allow` lists them.
    pub(in crate::http) const fn methods(self) -> &'static str {
        self.row().1
    }

    /// Returns whether the description of the API has the route.
    #[cfg(test)]
    pub(in crate::http) const fn is_described(self) -> bool {
        !matches!(
            self,
            Self::OpenApi | Self::Docs | Self::DocsStyle | Self::Metrics | Self::Other
        )
    }

    /// Returns path and methods.
    const fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::Info => ("/api", "GET, HEAD"),
            Self::Health => ("/api/health", "GET, HEAD"),
            Self::Live => ("/api/health/live", "GET, HEAD"),
            Self::Ready => ("/api/health/ready", "GET, HEAD"),
            Self::NetCheck => ("/api/netcheck", "GET, HEAD"),
            Self::Execute => ("/api/execute", "POST"),
            Self::Jobs => ("/api/jobs", "GET, HEAD, POST"),
            Self::Job => ("/api/jobs/{id}", "GET, HEAD, DELETE"),
            Self::JobAnswers => ("/api/jobs/{id}/answers", "POST"),
            Self::JobEvents => ("/api/jobs/{id}/events", "GET, HEAD"),
            Self::Nodes => ("/api/nodes", "GET, HEAD"),
            Self::Tenant => ("/api/tenants/{tenant}", "DELETE"),
            Self::TenantRestore => ("/api/tenants/{tenant}/restore", "POST"),
            Self::TenantAssign => ("/api/tenants/{tenant}/assign", "POST"),
            Self::Usage => ("/api/usage", "GET, HEAD"),
            Self::OpenApi => ("/api/openapi.json", "GET, HEAD"),
            Self::Docs => ("/api/docs", "GET, HEAD"),
            Self::DocsStyle => ("/api/docs.css", "GET, HEAD"),
            Self::Metrics => ("/metrics", "GET, HEAD"),
            Self::Scripts => ("/api/scripts", "GET, HEAD"),
            Self::Script => ("/api/scripts/{name}", "GET, HEAD"),
            Self::Other => ("other", ""),
        }
    }
}

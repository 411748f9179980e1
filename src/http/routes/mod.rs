//! The routes, one file per resource. Each handler extracts, makes one call on the handle, and returns a view.

mod description;
mod events;
mod execute;
mod health;
mod info;
mod jobs;
mod metrics;
mod netcheck;
mod nodes;
mod scripts;

use super::problem::{Code, Problem};
use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{
    FromRequest, Handler, HttpRequest, HttpResponse, HttpResponseBuilder, Responder, Route, guard,
};
use serde::Serialize;
use utoipa::OpenApi;

/// The description of all routes.
#[derive(OpenApi)]
#[openapi(
    info(title = "Sandpiper", description = "Runs untrusted JavaScript, each execution in a process of its own."),
    paths(
        info::show,
        health::show,
        health::live,
        health::ready,
        netcheck::check,
        nodes::list,
        scripts::list,
        scripts::show,
        execute::execute,
        jobs::submit,
        jobs::list,
        jobs::show,
        jobs::cancel,
        events::follow,
    ),
    tags(
        (name = "run", description = "Run a script, now or later"),
        (name = "jobs", description = "Follow, list and cancel jobs"),
        (name = "scripts", description = "Example scripts"),
        (name = "service", description = "Service status"),
    )
)]
pub(super) struct Described;

/// The path of every route, which is also its label in metrics. The index of a path is its index in the metrics.
pub(super) const PATTERNS: [&str; 17] = [
    "/api",
    "/api/health",
    "/api/health/live",
    "/api/health/ready",
    "/api/netcheck",
    "/api/execute",
    "/api/jobs",
    "/api/jobs/{id}",
    "/api/jobs/{id}/events",
    "/api/nodes",
    "/api/openapi.json",
    "/api/docs",
    "/api/docs.css",
    METRICS,
    "/api/scripts",
    "/api/scripts/{name}",
    "other",
];
/// The index of requests without a route.
pub(super) const OTHER: RoutePlace = RoutePlace(PATTERNS.len() - 1);
const METRICS: &str = "/metrics";

/// An index of [`PATTERNS`], stored at the resource that a request reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RoutePlace(usize);

impl RoutePlace {
    /// Returns the route of a request that has been handled.
    pub(super) fn of(request: &HttpRequest) -> Self {
        request.app_data().copied().unwrap_or(OTHER)
    }

    pub(super) fn index(self) -> usize {
        self.0
    }

    pub(super) fn pattern(self) -> &'static str {
        PATTERNS[self.0]
    }
}

/// Adds every route.
pub fn configure(config: &mut ServiceConfig) {
    config
        .service(resource("/api", "GET, HEAD").get(info::show))
        .service(resource("/api/health", "GET, HEAD").get(health::show))
        .service(resource("/api/health/live", "GET, HEAD").get(health::live))
        .service(resource("/api/health/ready", "GET, HEAD").get(health::ready))
        .service(resource("/api/netcheck", "GET, HEAD").get(netcheck::check))
        .service(resource("/api/execute", "POST").post(execute::execute))
        .service(
            resource("/api/jobs", "GET, HEAD, POST")
                .get(jobs::list)
                .post(jobs::submit),
        )
        .service(
            resource("/api/jobs/{id}", "GET, HEAD, DELETE")
                .get(jobs::show)
                .delete(jobs::cancel),
        )
        .service(resource("/api/jobs/{id}/events", "GET, HEAD").get(events::follow))
        .service(resource("/api/nodes", "GET, HEAD").get(nodes::list))
        .service(resource("/api/openapi.json", "GET, HEAD").get(description::json))
        .service(resource("/api/docs", "GET, HEAD").get(description::page))
        .service(resource("/api/docs.css", "GET, HEAD").get(description::style))
        .service(resource(METRICS, "GET, HEAD").get(metrics::show_beside))
        .service(resource("/api/scripts", "GET, HEAD").get(scripts::list))
        .service(resource("/api/scripts/{name}", "GET, HEAD").get(scripts::show))
        .default_service(web::to(not_found));
}

/// Adds the route of the separate metrics port.
pub fn configure_metrics(config: &mut ServiceConfig) {
    config
        .service(resource(METRICS, "GET, HEAD").get(metrics::show_apart))
        .default_service(web::to(not_found));
}

/// Returns the resource of a path that has `methods` and no others.
fn resource(path: &str, methods: &'static str) -> Resource {
    let others =
        web::to(
            move || async move { Err::<HttpResponse, _>(Problem::method_not_allowed(methods)) },
        );
    let place = PATTERNS.iter().position(|pattern| *pattern == path);
    let place = place.map_or(OTHER, RoutePlace);
    Resource(web::resource(path).app_data(place).default_service(others))
}

/// An [`actix_web::Resource`] with a method for each HTTP method in use. GET includes HEAD: actix sends the same head
/// without the body.
struct Resource(actix_web::Resource);

impl Resource {
    fn get<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let get_or_head = guard::Any(guard::Get()).or(guard::Head());
        self.on(web::route().guard(get_or_head), handler)
    }

    fn post<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.on(web::post(), handler)
    }

    fn delete<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.on(web::delete(), handler)
    }

    fn on<F, Args>(self, route: Route, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        Self(self.0.route(route.to(handler)))
    }
}

impl actix_web::dev::HttpServiceFactory for Resource {
    fn register(self, config: &mut actix_web::dev::AppService) {
        self.0.register(config);
    }
}

async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Problem::new(
        Code::NotFound,
        "nothing is served at this path; GET /api/docs lists the routes",
    ))
}

/// Returns a JSON response.
fn json(status: StatusCode, view: &impl Serialize) -> Result<HttpResponse, Problem> {
    json_with(HttpResponse::build(status), view)
}

/// Returns a JSON response with the given headers.
fn json_with(
    mut response: HttpResponseBuilder,
    view: &impl Serialize,
) -> Result<HttpResponse, Problem> {
    match serde_json::to_vec(view) {
        Ok(body) => Ok(response.content_type("application/json").body(body)),
        Err(error) => {
            tracing::error!(%error, "the response could not be written as JSON; the client gets an internal error");
            Err(Problem::new(
                Code::Internal,
                "the answer could not be written",
            ))
        }
    }
}

//! The routes, one file per resource. Each handler extracts, makes one call on the handle, and returns a view.

mod answers;
mod description;
mod events;
mod execute;
mod health;
mod info;
mod jobs;
mod metrics;
mod netcheck;
mod nodes;
mod route;
mod scripts;
mod tenants;
mod usage;

pub(in crate::http) use route::Route;

use super::problem::{Code, Problem};
use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, HttpResponse, HttpResponseBuilder, Responder, guard};
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
        answers::answer,
        events::follow,
        tenants::assign,
        tenants::purge,
        tenants::restore,
        usage::show,
    ),
    tags(
        (name = "run", description = "Run a script, now or later"),
        (name = "jobs", description = "Follow, list, answer and cancel jobs"),
        (name = "usage", description = "Usage and budgets"),
        (name = "scripts", description = "Example scripts"),
        (name = "tenants", description = "Change tenants, with a key of the scope `admin`"),
        (name = "service", description = "Service status"),
    )
)]
pub(super) struct Described;

/// Adds every route.
pub fn configure(config: &mut ServiceConfig) {
    config
        .service(resource(Route::Info).get(info::show))
        .service(resource(Route::Health).get(health::show))
        .service(resource(Route::Live).get(health::live))
        .service(resource(Route::Ready).get(health::ready))
        .service(resource(Route::NetCheck).get(netcheck::check))
        .service(resource(Route::Execute).post(execute::execute))
        .service(resource(Route::Jobs).get(jobs::list).post(jobs::submit))
        .service(resource(Route::Job).get(jobs::show).delete(jobs::cancel))
        .service(resource(Route::JobAnswers).post(answers::answer))
        .service(resource(Route::JobEvents).get(events::follow))
        .service(resource(Route::Nodes).get(nodes::list))
        .service(resource(Route::Tenant).delete(tenants::purge))
        .service(resource(Route::TenantAssign).post(tenants::assign))
        .service(resource(Route::TenantRestore).post(tenants::restore))
        .service(resource(Route::Usage).get(usage::show))
        .service(resource(Route::OpenApi).get(description::json))
        .service(resource(Route::Docs).get(description::page))
        .service(resource(Route::DocsStyle).get(description::style))
        .service(resource(Route::Metrics).get(metrics::show_beside))
        .service(resource(Route::Scripts).get(scripts::list))
        .service(resource(Route::Script).get(scripts::show))
        .default_service(web::to(not_found));
}

/// Adds the route of the separate metrics port.
pub fn configure_metrics(config: &mut ServiceConfig) {
    config
        .service(resource(Route::Metrics).get(metrics::show_apart))
        .default_service(web::to(not_found));
}

/// Returns the resource of a route, which rejects other methods than the route's.
fn resource(route: Route) -> Resource {
    let others = web::to(move || async move {
        Err::<HttpResponse, _>(Problem::method_not_allowed(route.methods()))
    });
    let resource = web::resource(route.path()).app_data(route);
    Resource(resource.default_service(others))
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

    fn on<F, Args>(self, route: actix_web::Route, handler: F) -> Self
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

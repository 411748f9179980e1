//! `GET /api/nodes`: who runs the jobs of this service's store.

use super::json;
use crate::http::Api;
use crate::http::problem::Problem;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use sandpiper_domain::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// Who runs jobs of this service's store.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NodesView {
    /// Those that live.
    nodes: Vec<NodeView>,
    /// Milliseconds that the job has waited that has waited longest; null where none waits, or where it is not known.
    #[schema(value_type = Option<u64>)]
    oldest_queued_ms: Option<u128>,
}

/// A process that runs jobs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NodeView {
    /// Unique for each start of a process.
    id: String,
    /// The one that answers.
    is_this: bool,
    /// When it started.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When it last said that it lives.
    #[schema(value_type = String, format = DateTime)]
    seen_at: Timestamp,
    /// Executions that it runs at a time.
    executors: usize,
}

/// The processes that run jobs of this service's store.
#[utoipa::path(get, operation_id = "listNodes", path = "/api/nodes", tag = "service", responses((status = 200, description = "Those that live", body = NodesView)))]
pub(super) async fn list(api: Data<Api>) -> Result<HttpResponse, Problem> {
    let nodes = api.dispatcher.nodes().await?;
    let this = nodes.this;
    let view = NodesView {
        oldest_queued_ms: nodes.oldest_queued.map(|waited| waited.as_millis()),
        nodes: nodes
            .nodes
            .into_iter()
            .map(|node| NodeView {
                is_this: node.id == this,
                id: node.id,
                started_at: node.started_at,
                seen_at: node.seen_at,
                executors: node.executors,
            })
            .collect(),
    };
    json(StatusCode::OK, &view)
}

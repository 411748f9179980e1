//! `GET /api/nodes`: the nodes that run the jobs of this service's store.

use super::json;
use crate::http::Api;
use crate::http::caller::Caller;
use crate::http::problem::Problem;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use sandpiper_domain::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// The nodes that run the jobs of this service's store.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Nodes)]
struct NodesView {
    /// The live nodes.
    nodes: Vec<NodeView>,
    /// Waiting time of the oldest queued job, milliseconds; null if none waits, the time is unknown, or the key
    /// has no scope `admin`.
    #[schema(value_type = Option<u64>, required)]
    oldest_queued_ms: Option<u128>,
}

/// A process that runs jobs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Node)]
struct NodeView {
    /// ID of the node, unique for each start of a process.
    id: String,
    /// `true` for the node that sent the response.
    is_this: bool,
    /// Time at which the node started.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// Time of the node's last heartbeat.
    #[schema(value_type = String, format = DateTime)]
    seen_at: Timestamp,
    /// Number of executions that the node runs at the same time.
    executors: usize,
}

/// Nodes of this service's store
#[utoipa::path(get, operation_id = "listNodes", path = "/api/nodes", tag = "service", responses((status = 200, description = "The live nodes", body = NodesView)))]
pub(super) async fn list(api: Data<Api>, caller: Caller) -> Result<HttpResponse, Problem> {
    let nodes = api.dispatcher.nodes().await?;
    let this = nodes.this;
    let view = NodesView {
        oldest_queued_ms: (nodes.oldest_queued)
            .filter(|_| caller.may_see_totals())
            .map(|waited| waited.as_millis()),
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

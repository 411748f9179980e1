//! The upkeep of the queue on one node: heartbeats, jobs of dead nodes, claims that never arrived, and reserved slots.

use super::attempts::Attempts;
use super::claims::Claims;
use super::counters::Counters;
use super::deadline::within;
use super::nodes::{HEARTBEAT_EVERY, NodeRegistry};
use crate::StoreError;
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, warn};

/// Longest that one round takes, which has several statements.
const ROUND_WITHIN: Duration = Duration::from_secs(30);
/// Age at which the slot of a requeued job is restored: longer than River takes to record the requeue.
const RESTORED_AFTER: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
pub(super) struct Upkeep {
    pub(super) nodes: Arc<NodeRegistry>,
    pub(super) claims: Arc<Claims>,
    pub(super) attempts: Arc<Attempts>,
    pub(super) counters: Arc<Counters>,
}

impl Upkeep {
    /// Sends heartbeats, and runs a round every two seconds, for ever. A slow round delays no heartbeat.
    pub(super) async fn run(self) {
        let rounds = async {
            loop {
                self.claims.adjust();
                if let Err(cause) = within(ROUND_WITHIN, self.round()).await {
                    Counters::increment(&self.counters.failures);
                    error!(
                        %cause,
                        "jobs of dead nodes and lost claims cannot be requeued; it is tried again in two seconds: check \
                         whether the database responds"
                    );
                }
                tokio::time::sleep(HEARTBEAT_EVERY).await;
            }
        };
        tokio::join!(self.nodes.send_heartbeats(), rounds);
    }

    async fn round(&self) -> Result<(), StoreError> {
        let rescued = if self.nodes.may_rescue() {
            self.nodes.rescue().await?
        } else {
            0
        };
        if rescued > 0 {
            Counters::add(&self.counters.rescued, rescued);
            warn!(
                jobs = rescued,
                "a node sent no heartbeat for six seconds; its jobs are requeued, and other nodes run them"
            );
        }
        let unarrived = self.attempts.requeue_unarrived().await?;
        if unarrived > 0 {
            Counters::add(&self.counters.requeued, unarrived);
            warn!(
                jobs = unarrived,
                "this node claimed jobs that never arrived from the database; they are requeued, and no attempt is used up"
            );
        }
        self.attempts.restore_slots(RESTORED_AFTER).await
    }
}

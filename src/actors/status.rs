//! The state of the service, read from its live numbers without asking an actor.

use super::handle::{DispatcherHandle, HandleParts};
use super::meters::{Meters, ToolCounters};
use super::types::ServiceStatus;
use crate::telemetry::Telemetry;
use sandpiper_domain::Timestamp;
use sandpiper_store::StoreCounts;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl DispatcherHandle {
    /// Returns the state of the service. Does not wait and asks no actor.
    #[must_use]
    pub fn status(&self) -> ServiceStatus {
        let HandleParts { stats, store, .. } = &*self.0;
        let counts = store.counts();
        ServiceStatus {
            isolation_level: self.0.isolation_level.to_string(),
            isolation_layers: self.0.isolation_layers.clone(),
            store: store.name().to_owned(),
            store_promise: store.promise().to_owned(),
            draining: stats.draining.load(Ordering::SeqCst),
            executors: stats.executors(),
            executors_ready: stats.executors_ready(),
            executors_busy: stats.executors_busy(),
            reserve_executors: stats.reserve_executors(),
            reserve_executors_up: stats.reserve_executors_up(),
            reserve_executors_busy: stats.reserve_executors_busy(),
            zygotes_replaced: stats.zygotes_replaced.load(Ordering::Relaxed),
            executors_revived: stats.executors_revived.load(Ordering::Relaxed),
            executions_crashed: stats.executions_crashed.load(Ordering::Relaxed),
            executions_killed: stats.executions_killed.load(Ordering::Relaxed),
            executions: stats.executions().collect(),
            limits_hit: stats.limits_hit().collect(),
            mean_wall: Duration::from_micros(stats.mean_wall_micros.load(Ordering::Relaxed)),
            jobs: StoreCounts {
                failures: counts.failures + stats.store_failures.load(Ordering::Relaxed),
                ..counts
            },
            queued_interactive: stats.queued_interactive.load(Ordering::Relaxed),
            queued_background: stats.queued_background.load(Ordering::Relaxed),
            process_ids: stats.process_ids(),
        }
    }

    /// Returns true if the store responds. Waits for the store for at most a second.
    pub async fn store_is_up(&self) -> bool {
        self.0.store_health.is_up().await
    }

    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.0.started_at
    }

    #[must_use]
    pub fn meters(&self) -> &Meters {
        &self.0.stats.meters
    }

    #[must_use]
    pub fn tool_counters(&self) -> &ToolCounters {
        &self.0.stats.tools
    }

    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        self.0.stats.telemetry()
    }
}

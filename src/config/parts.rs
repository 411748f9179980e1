//! Derives the options of each part of the service, and checks options that depend on each other.

use super::{OptionConflict, PinExecutors, ServeOptions, StoreChoice};
use crate::actors::{DispatcherOptions, QueueBounds, ReserveOptions};
use crate::http::{HttpBounds, Streams};
use crate::sources::SourceFolder;
use sandpiper_domain::{Limits, Script};
use sandpiper_http_kit::hosts::AllowedHosts;
use sandpiper_sandbox_client::Processors;
use sandpiper_store::{Address, DataKeys, DurableOptions, MemoryStoreBounds, RecentBounds};
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

/// Time after which a waiting job of a database is requeued, so that another node can run it.
const REQUEUE_AFTER: Duration = Duration::from_secs(1);

impl ServeOptions {
    /// Checks options that depend on each other.
    pub fn check(&self) -> Result<(), OptionConflict> {
        self.isolation.check()?;
        if self.queue_bytes / 4 * 3 < self.body_bytes {
            return Err(OptionConflict {
                first: "--queue-bytes",
                second: "--body-bytes",
                reason: "one job must fit into three quarters of the queue".to_owned(),
            });
        }
        self.store_bounds.check(self.body_bytes)?;
        self.limits.defaults(&self.ceilings.ceiling()).map(drop)
    }

    #[must_use]
    pub fn executors(&self) -> usize {
        self.executors.map_or_else(
            || available_parallelism().map_or(1, NonZero::get),
            usize::from,
        )
    }

    /// Returns the maximum number of reserve executors. The minimum is two, so that one client on a reserve executor
    /// leaves another one free. The default is at most four, because each takes as much memory as an executor.
    #[must_use]
    pub fn reserve_executors(&self) -> usize {
        self.reserve_executors
            .map_or_else(|| self.executors().clamp(2, 4), usize::from)
    }

    /// Returns the processors to pin executors to, one each. `None` means that executors are not pinned.
    pub fn processors(&self) -> std::io::Result<Option<Processors>> {
        let all = Processors::of_this_process()?;
        let one_for_each = all.count() == self.executors();
        Ok((self.pin_executors == PinExecutors::Auto && one_for_each).then_some(all))
    }

    /// Returns the number of HTTP threads. One thread feeds four executors and runs the Dispatcher besides.
    #[must_use]
    pub fn http_workers(&self) -> usize {
        const CORES_OF_ONE: usize = 4;
        self.http_workers.map_or_else(
            || available_parallelism().map_or(1, |cores| cores.get().div_ceil(CORES_OF_ONE)),
            usize::from,
        )
    }

    #[must_use]
    pub fn dispatcher(&self) -> DispatcherOptions {
        DispatcherOptions {
            queue: QueueBounds {
                interactive_max: as_count(self.queue_interactive),
                background_max: as_count(self.queue_background),
                bytes_max: as_size(self.queue_bytes),
                interactive_weight: self.interactive_weight,
            },
            queue_wait_max: Duration::from_millis(self.queue_wait_ms),
            requeue_after: match self.store {
                StoreChoice::Memory => None,
                StoreChoice::Durable(_) => Some(REQUEUE_AFTER),
            },
            client_running_max: self.client_running_max.map_or(usize::MAX, usize::from),
            reserve: ReserveOptions {
                after: Duration::from_millis(self.reserve_after_ms),
                idle_max: Duration::from_secs(self.reserve_idle_s),
            },
        }
    }

    /// Returns the maximum time from a request to the response of its execution, without the script's own time: the
    /// queue wait, the kill, and the restart of zygotes.
    #[must_use]
    pub fn execute_within(&self) -> Duration {
        const RAISING_ZYGOTES: Duration = Duration::from_secs(60);
        Duration::from_millis(
            self.queue_wait_ms
                .saturating_add(self.isolation.kill_grace_ms),
        )
        .saturating_add(RAISING_ZYGOTES)
    }

    #[must_use]
    pub fn http(&self) -> HttpBounds {
        HttpBounds {
            body_bytes: as_size(self.body_bytes),
            body_timeout: Duration::from_millis(self.body_timeout_ms),
            wait_max: Duration::from_secs(self.wait_max_s),
            events_for: Duration::from_secs(self.events_s),
            netcheck_host: self.netcheck_host,
            allowed_hosts: AllowedHosts::new(self.allowed_hosts.clone()),
            client_header: self.client_header.clone(),
        }
    }

    #[must_use]
    pub fn streams(&self) -> Arc<Streams> {
        Streams::new(as_count(self.events_max), as_count(self.events_client_max))
    }

    /// Returns the folder of fetched scripts, if one is configured.
    #[must_use]
    pub fn sources(&self) -> Option<SourceFolder> {
        let path = self.sources_dir.clone()?;
        Some(SourceFolder::new(path, Script::CODE_BYTES_MAX))
    }

    #[must_use]
    pub fn durable_store(
        &self,
        address: Address,
        data_keys: Option<Arc<DataKeys>>,
        defaults: Limits,
    ) -> DurableOptions {
        DurableOptions {
            address,
            data_keys,
            defaults,
            ceiling: self.ceilings.ceiling(),
            ttl: Duration::from_secs(self.result_ttl_s),
            attempts_max: self.attempts_max,
            executors: self.executors(),
            reserve_executors: self.reserve_executors(),
            connections: u32::from(self.store_connections),
            claims_per_executor: usize::from(self.claims_per_executor),
            client_jobs_max: as_count(self.client_jobs_max),
            timeout: Duration::from_millis(self.store_bounds.store_timeout_ms),
            client_bytes: self.store_bounds.client_bytes,
            bytes_max: self.store_bounds.durable_bytes,
            usage_kept: self.store_bounds.usage_kept(),
            waiting: self.store_bounds.waiting(),
        }
    }

    #[must_use]
    pub fn memory_store(&self) -> MemoryStoreBounds {
        MemoryStoreBounds {
            jobs_max: as_count(self.store_jobs_max),
            bytes_max: as_size(self.store_bytes),
            ttl: Duration::from_secs(self.result_ttl_s),
            client_jobs_max: as_count(self.client_jobs_max),
            client_bytes: as_size(self.store_bounds.client_bytes),
            usage_kept: self.store_bounds.usage_kept(),
            waiting: self.store_bounds.waiting(),
        }
    }

    #[must_use]
    pub fn recent(&self) -> RecentBounds {
        RecentBounds {
            executions_max: as_count(self.recent_max),
            bytes_max: as_size(self.recent_bytes),
            ttl: Duration::from_secs(self.result_ttl_s),
        }
    }
}

fn as_count(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn as_size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

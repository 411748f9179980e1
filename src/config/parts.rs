//! What the options come to for each part of the service, and whether they fit together.

use super::{
    CeilingOptions, LimitOptions, PinExecutors, ServeOptions, SpeculationOption, Unfit, WallOptions,
};
use crate::actors::{DispatcherOptions, QueueBounds, ReserveOptions};
use crate::http::{HttpBounds, Streams};
use crate::sources::SourceFolder;
use crate::store::{Address, DurableOptions, MemoryStoreBounds, RecentBounds};
use sandpiper_domain::{Ceiling, LimitError, Limits, Script};
use sandpiper_http_kit::hosts::AllowedHosts;
use sandpiper_sandbox_client::{
    Processors, SandboxOptions, SandboxProgram, SpeculationControl, ZygotePlan,
};
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

impl CeilingOptions {
    /// The most a client may ask for.
    #[must_use]
    pub fn ceiling(&self) -> Ceiling {
        Ceiling {
            timeout_ms: self.timeout_ms_ceiling,
            memory_bytes: self.memory_bytes_ceiling,
            output_bytes: as_output(self.output_bytes_ceiling),
        }
    }
}

impl LimitOptions {
    /// What a client gets that asks for nothing.
    pub fn defaults(&self, ceiling: &Ceiling) -> Result<Limits, Unfit> {
        let output_bytes = as_output(self.output_bytes);
        Limits::defaults(self.timeout_ms, self.memory_bytes, output_bytes, ceiling).map_err(
            |error| {
                let field = match &error {
                    LimitError::AboveCeiling(above) => above.field,
                    LimitError::TooSmall { field, .. } => *field,
                };
                let (first, second) = match field {
                    "timeoutMs" => ("--timeout-ms", "--timeout-ms-ceiling"),
                    "memoryBytes" => ("--memory-bytes", "--memory-bytes-ceiling"),
                    _ => ("--output-bytes", "--output-bytes-ceiling"),
                };
                let reason = "the default must not be above the ceiling".to_owned();
                Unfit {
                    first,
                    second,
                    reason,
                }
            },
        )
    }

    /// The limits themselves, for whoever sets their own: they are their own ceiling.
    pub fn own(&self) -> Result<Limits, Unfit> {
        self.defaults(&Ceiling {
            timeout_ms: self.timeout_ms,
            memory_bytes: self.memory_bytes,
            output_bytes: as_output(self.output_bytes),
        })
    }
}

impl WallOptions {
    /// Returns the options of each executor's sandbox, which runs `program`.
    #[must_use]
    pub fn sandbox(&self, program: SandboxProgram) -> SandboxOptions {
        SandboxOptions {
            program,
            plan: ZygotePlan {
                max_isolation: self.max_isolation,
                speculation: match self.speculation_control {
                    SpeculationOption::Auto => SpeculationControl::Auto,
                    SpeculationOption::Off => SpeculationControl::Off,
                },
            },
            min_isolation: self.min_isolation,
            kill_grace: Duration::from_millis(self.kill_grace_ms),
            executions_per_zygote: self.zygote_executions,
        }
    }

    /// Options that depend on each other.
    pub fn check(&self) -> Result<(), Unfit> {
        if self.min_isolation <= self.max_isolation {
            return Ok(());
        }
        Err(Unfit {
            first: "--min-isolation",
            second: "--max-isolation",
            reason: format!(
                "{} is asked for, and nothing above {} is tried",
                self.min_isolation, self.max_isolation
            ),
        })
    }
}

impl ServeOptions {
    /// Options that depend on each other.
    pub fn check(&self) -> Result<(), Unfit> {
        self.walls.check()?;
        if self.queue_bytes / 4 * 3 < self.body_bytes {
            return Err(Unfit {
                first: "--queue-bytes",
                second: "--body-bytes",
                reason: "one job must fit into three quarters of the queue".to_owned(),
            });
        }
        self.store_bounds.check(self.body_bytes)?;
        self.limits.defaults(&self.ceilings.ceiling()).map(drop)
    }

    /// Executions at one time.
    #[must_use]
    pub fn executors(&self) -> usize {
        self.executors.map_or_else(
            || available_parallelism().map_or(1, NonZero::get),
            usize::from,
        )
    }

    /// Returns the most reserve executors. Two at least, so that one client that has one leaves another; and no more than
    /// four, since each takes memory like any executor.
    #[must_use]
    pub fn reserve_executors(&self) -> usize {
        self.reserve_executors
            .map_or_else(|| self.executors().clamp(2, 4), usize::from)
    }

    /// The processors on which executors stay, one on each; `None`: wherever there is room.
    pub fn processors(&self) -> std::io::Result<Option<Processors>> {
        let all = Processors::of_this_process()?;
        let one_for_each = all.count() == self.executors();
        Ok((self.pin_executors == PinExecutors::Auto && one_for_each).then_some(all))
    }

    /// Threads that speak HTTP. One feeds four executors, and runs the Dispatcher beside that.
    #[must_use]
    pub fn http_workers(&self) -> usize {
        const CORES_OF_ONE: usize = 4;
        self.http_workers.map_or_else(
            || available_parallelism().map_or(1, |cores| cores.get().div_ceil(CORES_OF_ONE)),
            usize::from,
        )
    }

    /// For the Dispatcher.
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
            attempts_max: self.attempts_max,
            client_running_max: self.client_running_max.map_or(usize::MAX, usize::from),
            reserve: ReserveOptions {
                after: Duration::from_millis(self.reserve_after_ms),
                idle_max: Duration::from_secs(self.reserve_idle_s),
            },
        }
    }

    /// Longest from asking to the answer of an execution, beside the script's own time: the queue, the kill, and zygotes
    /// raised anew.
    #[must_use]
    pub fn execute_within(&self) -> Duration {
        const RAISING_ZYGOTES: Duration = Duration::from_secs(60);
        Duration::from_millis(self.queue_wait_ms.saturating_add(self.walls.kill_grace_ms))
            .saturating_add(RAISING_ZYGOTES)
    }

    /// For the HTTP side.
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

    /// For streams of events.
    #[must_use]
    pub fn streams(&self) -> Arc<Streams> {
        Streams::new(as_count(self.events_max), as_count(self.events_client_max))
    }

    /// For scripts from elsewhere.
    #[must_use]
    pub fn sources(&self) -> Option<SourceFolder> {
        let path = self.sources_dir.clone()?;
        Some(SourceFolder::new(path, Script::CODE_BYTES_MAX))
    }

    /// For a store in a database.
    #[must_use]
    pub fn durable_store(&self, address: Address, defaults: Limits) -> DurableOptions {
        DurableOptions {
            address,
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
        }
    }

    /// For the memory store.
    #[must_use]
    pub fn memory_store(&self) -> MemoryStoreBounds {
        MemoryStoreBounds {
            jobs_max: as_count(self.store_jobs_max),
            bytes_max: as_size(self.store_bytes),
            ttl: Duration::from_secs(self.result_ttl_s),
            client_jobs_max: as_count(self.client_jobs_max),
            client_bytes: as_size(self.store_bounds.client_bytes),
        }
    }

    /// For the results of synchronous executions.
    #[must_use]
    pub fn recent(&self) -> RecentBounds {
        RecentBounds {
            executions_max: as_count(self.recent_max),
            bytes_max: as_size(self.recent_bytes),
            ttl: Duration::from_secs(self.result_ttl_s),
        }
    }
}

fn as_output(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn as_count(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn as_size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

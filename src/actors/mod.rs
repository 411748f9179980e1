//! The Dispatcher, which admits, orders, hands out and records work; the Executors, which run it; and the handle
//! through which everything above talks to them.
//!
//! `http` sees [`DispatcherHandle`] and the types of [`types`]. It never names an `Addr`.

mod dispatcher;
mod executor;
mod follow;
mod handle;
mod job_runner;
mod lane_queue;
mod meters;
mod purged_tenants;
mod queue;
mod rounds;
mod runner;
mod spans;
mod stats;
mod status;
mod store_health;
mod tenants;
#[cfg(test)]
mod tests;
mod tool_jobs;
pub mod types;
mod work_queue;

pub use dispatcher::{Dispatcher, DispatcherOptions, ReserveOptions};
pub use executor::Executors;
pub use handle::{DispatcherHandle, HandleParts};
pub use job_runner::DispatcherJobRunner;
pub use meters::{ByLane, Meters, ToolCounters};
pub use purged_tenants::PurgedTenants;
pub use queue::{Queue, QueueBounds};
pub use runner::{RoundTask, Runner, RunnerFactory, Task, sandboxes};
pub use stats::Stats;
pub use store_health::StoreHealth;

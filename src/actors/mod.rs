//! Who does what, when: the Dispatcher that admits, orders, hands out and records; the Executors that run; the handle
//! through which everything above talks to them.
//!
//! `http` sees [`DispatcherHandle`] and the types of [`answers`]; it never names an `Addr`.

pub mod answers;
mod board;
mod claims;
mod dispatcher;
mod executor;
mod follow;
mod handle;
mod lane_queue;
mod meters;
mod queue;
mod runner;
mod spans;
mod store_health;
#[cfg(test)]
mod tests;
mod tray;

pub use board::Board;
pub use claims::Claims;
pub use dispatcher::{Dispatcher, DispatcherOptions, ReserveOptions};
pub use executor::Executors;
pub use handle::{DispatcherHandle, Parts};
pub use meters::{ByLane, Meters};
pub use queue::{Queue, QueueBounds};
pub use runner::{Runner, RunnerFactory, Task, sandboxes};
pub use store_health::StoreHealth;

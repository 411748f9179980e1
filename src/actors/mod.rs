//! Who does what, when: the Dispatcher that admits, orders, hands out and records; the Executors that run; the handle
//! through which everything above talks to them.
//!
//! `http` sees [`DispatcherHandle`] and the types of [`answers`]; it never names an `Addr`.

pub mod answers;
pub mod handle;

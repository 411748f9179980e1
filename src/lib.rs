//! Sandpiper runs untrusted JavaScript over HTTP, with one operating-system process per execution.
//!
//! | module | contents |
//! |---|---|
//! | [`telemetry`] | spans and their export |
//! | [`measured_store`] | a store that measures another |
//! | [`usage`] | usage of tenants, and their budgets |
//! | [`actors`] | Dispatcher, Executors, and the handle through which they are reached |
//! | [`scripts`] | the example scripts |
//! | [`tool_runs`] | executions with tools between their rounds |
//! | [`replay`] | the sealed state of executions that wait for answers |
//! | [`http`] | routes, bodies, problems |
//! | [`config`] | options, their defaults and bounds |
//! | [`selftest`] | hostile scripts, and how each must end |
//! | [`commands`] | `sandpiper run`, `sandpiper doctor` and `sandpiper selftest` |
//! | [`app`] | start and stop of the service |
//!
//! Imports point one way: `app → http → actors`.
#![forbid(unsafe_code)]

pub mod actors;
pub mod app;
pub mod commands;
pub mod config;
pub mod http;
pub mod measured_store;
pub mod replay;
pub mod scripts;
pub mod selftest;
pub mod sources;
pub mod telemetry;
pub mod tool_runs;
pub mod usage;

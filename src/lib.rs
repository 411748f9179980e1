//! Sandpiper runs untrusted JavaScript over HTTP, with one operating-system process per execution.
//!
//! | module | contents |
//! |---|---|
//! | [`meters`] | counters and histograms, each update a few additions |
//! | [`telemetry`] | spans and their export |
//! | [`store`] | the store of jobs |
//! | [`actors`] | Dispatcher, Executors, and the handle through which they are reached |
//! | [`scripts`] | the example scripts |
//! | [`http`] | routes, bodies, problems |
//! | [`config`] | options, their defaults and bounds |
//! | [`selftest`] | hostile scripts, and how each must end |
//! | [`commands`] | `sandpiper run`, `sandpiper doctor` and `sandpiper selftest` |
//! | [`app`] | start and stop of the service |
//!
//! Imports point one way: `app → http → actors → {sandbox, store} → domain`, and `sandbox → engine → domain`. A test
//! reads the `use` lines and fails when an arrow turns back.
#![forbid(unsafe_code)]

pub mod actors;
pub mod app;
pub mod commands;
pub mod config;
pub mod http;
pub mod meters;
pub mod scripts;
pub mod selftest;
pub mod sources;
pub mod store;
pub mod telemetry;

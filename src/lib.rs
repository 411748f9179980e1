//! Sandpiper runs JavaScript that nobody trusts, over HTTP: every execution in a process of its own.
//!
//! | module | what it is |
//! |---|---|
//! | [`meters`] | counters and histograms that cost a few additions |
//! | [`telemetry`] | spans, and their way to a collector |
//! | [`store`] | memory of jobs |
//! | [`actors`] | Dispatcher and Executors, and the handle through which they are reached |
//! | [`scripts`] | the example scripts |
//! | [`http`] | routes, bodies, problems |
//! | [`config`] | every option, its default and its bound |
//! | [`selftest`] | scripts that mean harm, and how each must end |
//! | [`commands`] | `sandpiper run`, `sandpiper doctor` and `sandpiper selftest` |
//! | [`app`] | puts all of it together; start order, stop order |
//!
//! Imports point one way: `app → http → actors → {sandbox, store} → domain`, and `sandbox → engine → domain`. A test reads
//! the `use` lines and fails when an arrow turns back.
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

//! Deployments that are really started: images built, containers run, killed and stopped. `make test-deploy`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // clippy.toml allows them in #[test] functions, not in their helpers
#![allow(clippy::print_stdout, clippy::print_stderr)] // what it measured, and what containers said before a failure
#![allow(clippy::disallowed_methods)] // the names of base images come from tests/deploy/with-engine

mod cloudrun;
mod compose;
mod engine;
mod http;
mod images;
mod load;
mod scale;

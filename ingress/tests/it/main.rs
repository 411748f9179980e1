//! Promises of the ingress over real HTTP, against the real binary: in front of a service that a test scripts byte by byte,
//! or of the real one.
#![allow(clippy::unwrap_used)] // tests

mod bounds;
mod browsers;
mod documents;
mod exposure;
mod forwarded;
mod hostile_http;
mod keys;
mod limits;
mod metrics;
mod pages;
mod proxy;
mod service;
mod sources;
mod support;
mod traces;

//! Tests of the ingress over HTTP, against the real binary: in front of a scripted service, or of the real one.
#![allow(clippy::unwrap_used)] // tests

mod ambiguous_paths;
mod audit;
mod bounds;
mod browsers;
mod connections;
mod descriptors;
mod documents;
mod exposure;
mod forwarded;
mod framing;
mod generated_clients;
mod hostile_http;
mod key_commands;
mod keys;
mod limits;
mod load;
mod metrics;
mod pages;
mod proxy;
mod service;
mod sources;
mod support;
mod tenants;
mod traces;
mod validity;

//! The promises of the service, each a sentence, tested with the real binary over real HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used)] // clippy.toml allows them in #[test] functions, not in their helpers

mod architecture;
mod asynchronous;
mod bad_http;
mod bad_input;
mod bad_paths;
mod browsers;
mod budgets;
mod cli;
mod cli_serve;
mod clients;
mod console;
mod crowd;
mod deployment;
mod descriptors;
mod determinism;
mod durable;
mod engine_faults;
mod errors;
mod events;
mod examples;
mod execute;
mod field_cases;
mod files;
mod fuzz;
mod global_events;
mod globals;
mod health;
mod hints;
mod hostile;
mod jobs;
mod kinds;
mod limits;
mod many_tenants;
mod metrics;
mod observability;
mod openapi;
mod otlp;
mod page_faults;
mod processors;
mod promises;
mod queueing;
mod raw;
mod refusals;
mod reserve;
mod same_request;
mod scripts;
mod seed;
mod separation;
mod standards;
mod stop;
mod stores;
mod suites;
mod supply_chain;
mod support;
mod table;
mod tenants;
mod thrown;
mod tool_jobs;
mod tools;
mod traces;
mod usage;
mod usage_store;
mod values;
mod web_apis;
mod web_crypto;

#[test]
fn code_in_result_out() {
    let service = support::Service::start();
    assert_eq!(service.result("1 + 2"), 3);
}

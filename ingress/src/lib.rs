//! The ingress of Sandpiper: the API gateway in front of the service, and the only part that faces the public.
//!
//! The way of one request: `middleware` handles every request. `authorization` checks the length of its head and its
//! target (`target`), rejects requests that a page of another origin makes a browser send (`browser`, `cors`),
//! determines the client and the key (`client`, `keys`, `principal`), and checks the quotas and the open requests
//! (`limits`, `in_flight`). Then `middleware` fetches the script that the request references (`sources`), and forwards
//! the request to the service (`proxy`) or serves a page (`pages`).
//!
//! `app` builds the shared state (`gateway`) and both servers. `config` has every option. `meters` counts, `metrics`
//! serves the counts on a port that the public does not reach, `audit` writes a line for each request to the API, and
//! `trace` reads the trace of a request. `key_commands` is the command `key`. The ingress shares with the service only
//! HTTP, one folder, and `sandpiper_http_kit`.
#![forbid(unsafe_code)]

pub mod app;
mod audit;
mod authorization;
mod browser;
mod client;
pub mod config;
mod cors;
mod gateway;
pub mod health;
mod hex;
mod in_flight;
pub mod key_commands;
pub mod keys;
mod limits;
mod meters;
mod metrics;
mod middleware;
mod open;
mod pages;
mod principal;
mod problem;
mod proxy;
pub mod sources;
mod target;
mod tasks;
mod tenant_changes;
mod timestamp;
mod trace;

//! The ingress of Sandpiper: the only part that faces the public.
//!
//! One request's way: `admission` measures its head, reads what it is for (`target`), refuses what a page of another origin
//! has made a browser send (`browser`, `cors`), finds out who asks (`client`, `keys`), and holds it to its quotas (`limits`).
//! Then `door` fetches the script that it only names (`sources`), and lets it through to the service (`proxy`) or to a page
//! (`pages`). `app` puts them together; `config` has every option; `meters` counts, for a port that the public does not reach,
//! and `trace` says to which trace a request belongs. It shares nothing with the service but HTTP and `sandpiper_http_kit`.
#![forbid(unsafe_code)]

mod admission;
pub mod app;
mod asker;
mod browser;
mod client;
pub mod config;
mod cors;
mod door;
pub mod health;
mod hex;
pub mod keys;
mod limits;
mod meters;
mod open;
mod pages;
mod problem;
mod proxy;
mod request_id;
pub mod sources;
mod target;
mod tasks;
mod trace;

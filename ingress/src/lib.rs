//! The ingress of Sandpiper: the only part that faces the public.
//!
//! One request's way: `door` measures its head, reads what it is for (`target`), finds out who asks (`client`, `keys`),
//! refuses what a page of another origin has made a browser send (`browser`, `cors`), holds it to its quotas (`limits`), fetches the script that it only names (`sources`), and lets it through to the service
//! (`proxy`) or to a page (`pages`). `app` puts
//! them together; `config` has every option; `meters` counts, for a port that the public does not reach, and `trace` says to
//! which trace a request belongs. It shares nothing with the service but HTTP and
//! `sandpiper_http_kit`.

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

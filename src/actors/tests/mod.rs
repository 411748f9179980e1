//! Promises of the actors that cannot be shown over HTTP: executors that panic or lose their sandbox, jobs that are
//! retried, stores that refuse or respond late.

mod dispatcher;
mod executor;
mod prefetch;
mod recording_store;
mod reserve;
mod reserve_executor;
mod retries;
mod stopping;
mod store_health;
mod support;

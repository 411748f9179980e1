//! What the actors promise and HTTP cannot show: executors that panic or lose their sandbox, jobs that are tried again,
//! stores that refuse or dawdle.

mod dispatcher;
mod executor;
mod ready;
mod reserve;
mod reserve_executor;
mod retries;
mod stopping;
mod store_health;
mod support;
mod witness;

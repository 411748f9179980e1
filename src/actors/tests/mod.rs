//! What the actors promise and HTTP cannot show: executors that panic or lose their sandbox, jobs that are tried again,
//! stores that refuse or dawdle.

mod executor;
mod support;

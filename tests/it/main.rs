//! The promises of the service, each a sentence, kept by the real binary over real HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used)] // clippy.toml allows them in #[test] functions, not in their helpers

mod architecture;
mod asynchronous;
mod console;
mod errors;
mod files;
mod globals;
mod hostile;
mod limits;
mod promises;
mod support;
mod table;
mod thrown;
mod values;

#[test]
fn code_in_result_out() {
    let service = support::Service::start();
    assert_eq!(service.result("1 + 2"), 3);
}

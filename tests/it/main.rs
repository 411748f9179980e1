//! The promises of the service, each a sentence, kept by the real binary over real HTTP.

mod architecture;
mod asynchronous;
mod console;
mod errors;
mod execute;
mod files;
mod globals;
mod hostile;
mod jobs;
mod limits;
mod promises;
mod queueing;
mod raw;
mod seed;
mod support;
mod table;
mod thrown;
mod values;

#[test]
fn code_in_result_out() {
    let service = support::Service::start();
    assert_eq!(service.result("1 + 2"), 3);
}

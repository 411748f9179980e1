//! The options that the programs read from the environment of a deployment.

use super::bytes;
use clap::{ArgMatches, Args as _, Command, FromArgMatches as _};
use sandpiper::config::{ServeOptions, StoreChoice};
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) type Environment = BTreeMap<String, String>;

/// Returns the `env` of a container, as Kubernetes and Cloud Run write it. Values of secrets come from `secret`.
pub(super) fn of_container(container: &Value, secret: &str) -> Environment {
    let variables = container["env"].as_array().unwrap().iter();
    let pair = |variable: &Value| {
        let value = variable["value"].as_str().unwrap_or(secret);
        (
            variable["name"].as_str().unwrap().to_owned(),
            value.to_owned(),
        )
    };
    variables.map(pair).collect()
}

/// Parses the environment as `sandpiper serve` does. An unknown name or an invalid value fails.
pub(super) fn of_service(environment: &Environment) -> ServeOptions {
    let matches = parse(
        ServeOptions::augment_args(Command::new("sandpiper")),
        environment,
    );
    let options = ServeOptions::from_arg_matches(&matches).unwrap();
    options.check().unwrap();
    options
}

/// Parses the environment as `sandpiper-ingress serve` does.
pub(super) fn of_ingress(environment: &Environment) -> sandpiper_ingress::config::ServeOptions {
    use sandpiper_ingress::config::ServeOptions;
    let matches = parse(
        ServeOptions::augment_args(Command::new("sandpiper-ingress")),
        environment,
    );
    let options = ServeOptions::from_arg_matches(&matches).unwrap();
    options.check().unwrap();
    options
}

/// Checks that the image of the ingress starts with these options: the image listens on every address.
pub(super) fn image_starts(environment: &Environment) -> bool {
    use sandpiper_ingress::config::ServeOptions;
    const HOST: &str = "0.0.0.0";
    assert!(super::text("Dockerfile").contains(&format!("ENV HOST={HOST} ")));
    let mut environment = environment.clone();
    environment.insert("HOST".to_owned(), HOST.to_owned());
    let command = ServeOptions::augment_args(Command::new("sandpiper-ingress"));
    let options = ServeOptions::from_arg_matches(&parse(command, &environment)).unwrap();
    options.check().is_ok()
}

fn parse(command: Command, environment: &Environment) -> ArgMatches {
    let flags: Vec<String> = environment
        .iter()
        .map(|(name, value)| {
            let mut arguments = command.get_arguments();
            let known = arguments.find(|argument| argument.get_env() == Some(name.as_ref()));
            let known = known.unwrap_or_else(|| panic!("{} has no {name}", command.get_name()));
            format!("--{}={value}", known.get_long().unwrap())
        })
        .collect();
    let name = command.get_name().to_owned();
    command
        .try_get_matches_from([name].into_iter().chain(flags))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Returns the maximum memory of a service with these options, bytes: the service, its zygotes, scripts at their
/// maximum, the queue, and the stores.
pub(super) fn memory_of_service(options: &ServeOptions) -> u64 {
    const ITSELF: u64 = 48 << 20;
    const ZYGOTE: u64 = 32 << 20;
    let kept = match options.store {
        StoreChoice::Memory => options.store_bytes,
        StoreChoice::Durable(_) => 0,
    };
    options.executors.expect("a fixed number of executors");
    let executors = options.executors() + options.reserve_executors();
    let execution =
        options.ceilings.memory_bytes_ceiling + 2 * options.ceilings.output_bytes_ceiling;
    ITSELF
        + u64::try_from(executors).unwrap() * (ZYGOTE + execution)
        + options.queue_bytes
        + options.recent_bytes
        + kept
}

/// Checks that the service fits into its memory, and that there are as many executors as processors.
pub(super) fn assert_service_fits(options: &ServeOptions, memory: &Value, processors: u16) {
    let (needed, given) = (memory_of_service(options), bytes(memory));
    assert!(needed <= given, "it may need {needed} bytes of {given}");
    assert_eq!(options.executors, Some(processors));
}

/// Checks that ingress and service agree on what they share, and that the service can do what the ingress waits for.
pub(super) fn assert_they_agree(service: &Environment, ingress: &Environment) {
    let name = |environment: &Environment, name: &str| environment.get(name).cloned();
    assert_eq!(
        name(service, "SANDPIPER_SOURCES_DIR"),
        name(ingress, "SANDPIPER_INGRESS_SOURCES_DIR")
    );
    let client_header = name(service, "SANDPIPER_CLIENT_HEADER");
    assert_eq!(client_header.as_deref(), Some("sandpiper-client"));
    let (service, ingress) = (of_service(service), of_ingress(ingress));
    assert_eq!(ingress.service.api_port, service.port);
    assert!(ingress.body_bytes.as_u64() <= service.body_bytes);
    let longest_answer = u64::max(
        service.queue_wait_ms
            + u64::from(service.ceilings.timeout_ms_ceiling)
            + service.isolation.kill_grace_ms,
        service.wait_max_s * 1000,
    );
    assert!(ingress.answer_timeout_ms > longest_answer);
    assert!(ingress.drain_ms >= service.drain_ms);
}

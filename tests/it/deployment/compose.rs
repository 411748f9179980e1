//! `docker-compose.yml` and `docker-compose.scale.yml`.

use super::options::{self, Environment};
use super::{bytes, text, yaml};
use serde_json::Value;

fn compose() -> Value {
    yaml(&text("docker-compose.yml"))
}

fn scale() -> Value {
    yaml(&text("docker-compose.scale.yml"))
}

/// Returns the environment of a container. Defaults of the file itself are used.
fn environment(service: &Value) -> Environment {
    let lines = service["environment"].as_array().unwrap().iter();
    lines
        .filter_map(|line| line.as_str().unwrap().split_once('='))
        .map(|(name, value)| (name.to_owned(), by_default(value).to_owned()))
        .collect()
}

/// Returns the default of `${NAME:-default}`.
fn by_default(value: &str) -> &str {
    let default = value
        .strip_prefix("${")
        .and_then(|rest| rest.trim_end_matches('}').split_once(":-"));
    default.map_or(value, |(_, default)| default)
}

/// Returns the names that may be set from outside.
fn assert_passed_on_are_options(service: &Value, parse: impl Fn(&str)) {
    for line in service["environment"].as_array().unwrap() {
        let line = line.as_str().unwrap();
        if !line.contains('=') {
            parse(line);
        }
    }
}

#[test]
fn every_container_is_isolated_and_bounded() {
    let (base, scale) = (compose(), scale());
    for container in [
        &base["services"]["ingress"],
        &base["services"]["service"],
        &scale["services"]["postgres"],
    ] {
        assert_eq!(container["read_only"], true);
        assert_eq!(container["cap_drop"], serde_json::json!(["ALL"]));
        assert_eq!(
            container["security_opt"],
            serde_json::json!(["no-new-privileges:true"])
        );
        assert_eq!(container["mem_limit"], container["memswap_limit"]);
        for bound in ["mem_limit", "pids_limit", "cpus", "stop_grace_period"] {
            assert!(container.get(bound).is_some(), "{bound}");
        }
        assert_eq!(container["restart"], "unless-stopped");
        assert_eq!(container["logging"]["options"]["max-size"], "10m");
    }
}

#[test]
fn only_the_ingress_is_published_and_only_it_is_on_a_network_with_a_way_out() {
    let (base, scale) = (compose(), scale());
    assert!(base["services"]["ingress"]["ports"].is_array());
    let service = &base["services"]["service"];
    assert!(service.get("ports").is_none());
    assert_eq!(service["networks"], serde_json::json!(["inside"]));
    assert!(scale["services"]["postgres"].get("ports").is_none());
    for network in [&base["networks"]["inside"], &scale["networks"]["store"]] {
        assert_eq!(network["internal"], true);
        // The port is not published on the machine itself either.
        let inhibited = "com.docker.network.bridge.inhibit_ipv4";
        assert_eq!(network["driver_opts"][inhibited], "true");
    }
}

#[test]
fn the_service_fits_in_its_memory_and_both_agree() {
    let base = compose();
    let (service, ingress) = (&base["services"]["service"], &base["services"]["ingress"]);
    let options = options::of_service(&environment(service));
    let processors = by_default(service["cpus"].as_str().unwrap())
        .parse()
        .unwrap();
    let memory = by_default(service["mem_limit"].as_str().unwrap()).into();
    options::assert_service_fits(&options, &memory, processors);
    options::assert_they_agree(&environment(service), &environment(ingress));
    for container in [service, ingress] {
        assert_eq!(container["stop_grace_period"], "10s");
    }
    let ingress_options = options::of_ingress(&environment(ingress));
    assert!(options.drain_ms < 10_000 && ingress_options.drain_ms < 10_000);
    assert!(ingress_options.sources.dir_bytes.as_u64() < bytes(&ingress["mem_limit"]) / 2);
}

#[test]
fn the_ingress_starts_as_it_is_and_with_keys_and_its_image_alone_does_not() {
    let base = compose();
    let ingress = &base["services"]["ingress"];
    // Trusted, because only this machine reaches it.
    let published = ingress["ports"][0].as_str().unwrap();
    assert!(published.starts_with("${SANDPIPER_PUBLISH:-127.0.0.1:"));
    let mut environment = environment(ingress);
    assert_eq!(environment["SANDPIPER_INGRESS_TRUSTED_NETWORK"], "true");
    assert!(options::image_starts(&environment));
    let keys = ("SANDPIPER_INGRESS_KEYS_FILE", "/keys/keys.json");
    environment.insert(keys.0.to_owned(), keys.1.to_owned());
    assert!(options::image_starts(&environment));
    assert!(!options::image_starts(&Environment::new()));
    let open = [
        ("SANDPIPER_INGRESS_OPEN", "true"),
        ("SANDPIPER_INGRESS_TRUSTED_NETWORK", "false"),
    ];
    let open = open.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert!(options::image_starts(&Environment::from(open)));
}

#[test]
fn the_last_use_of_keys_is_written_to_a_volume_and_the_keys_are_read_only() {
    let base = compose();
    let ingress = &base["services"]["ingress"];
    let file = &environment(ingress)["SANDPIPER_INGRESS_KEY_USES_FILE"];
    let folder = std::path::Path::new(file).parent().unwrap();
    let folder = folder.to_str().unwrap();
    let volumes = ingress["volumes"].as_array().unwrap();
    let volumes: Vec<&str> = volumes.iter().map(|it| it.as_str().unwrap()).collect();
    assert!(
        volumes.contains(&format!("uses:{folder}").as_str()),
        "{volumes:?}"
    );
    assert!(volumes.iter().any(|volume| volume.ends_with(":/keys:ro")));
    assert!(base["volumes"].get("uses").is_some());
    // A new volume has the owner of the folder in the image.
    let image = text("Dockerfile");
    assert!(image.contains("--chown=65532:65532 /root-of-ingress/uses/ /uses/"));
    let options = options::of_ingress(&environment(ingress));
    assert_eq!(options.key_uses_file.unwrap().to_str(), Some(file.as_str()));
}

#[test]
fn what_can_be_set_from_outside_is_an_option() {
    let base = compose();
    let value = |name: &str| {
        let value = match name {
            name if name.ends_with("_QUOTA") => "5/s:10",
            name if name.ends_with("_FORMAT") => "json",
            name if name.ends_with("_ALLOW") => "https://example.com/scripts/",
            name if name.ends_with("_ORIGINS") => "https://example.com",
            name if name.ends_with("_HOST") => "127.0.0.1",
            name if name.ends_with("_PROXIES") => "10.0.0.0/8",
            name if name.ends_with("_HOPS") => "1",
            _ => "3000",
        };
        Environment::from([(name.to_owned(), value.to_owned())])
    };
    assert_passed_on_are_options(&base["services"]["service"], |name| {
        options::of_service(&value(name));
    });
    assert_passed_on_are_options(&base["services"]["ingress"], |name| {
        options::of_ingress(&value(name));
    });
}

#[test]
fn several_services_share_one_postgres_that_lets_them_all_in() {
    let scale = scale();
    let service = &scale["services"]["service"];
    let options = options::of_service(&environment(service));
    let command = scale["services"]["postgres"]["command"].as_array().unwrap();
    let most = command.last().unwrap().as_str().unwrap();
    let most: u16 = most
        .strip_prefix("max_connections=")
        .unwrap()
        .parse()
        .unwrap();
    assert!(most >= 10 * options.store_connections);
    assert!(text("docker-compose.scale.yml").contains("${POSTGRES_PASSWORD:?"));
}

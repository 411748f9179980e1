//! `deploy/*.service`.

use super::options::{self, Environment};
use super::text;
use std::collections::BTreeMap;

/// Returns the settings of a unit. A setting that occurs twice has two values.
fn unit(name: &str) -> BTreeMap<String, Vec<String>> {
    let text = text(&format!("deploy/{name}.service"));
    let mut settings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some((name, value)) = line.split_once('=') {
            let values = settings.entry(name.to_owned()).or_default();
            values.push(value.to_owned());
        }
    }
    settings
}

fn environment(unit: &BTreeMap<String, Vec<String>>) -> Environment {
    let pairs = unit["Environment"].iter();
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap());
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Parses `12` or `12s`.
fn seconds(unit: &BTreeMap<String, Vec<String>>, name: &str) -> u64 {
    unit[name][0].trim_end_matches('s').parse().unwrap()
}

#[test]
fn both_agree_and_have_time_to_stop() {
    let (service, ingress) = (unit("sandpiper"), unit("sandpiper-ingress"));
    options::assert_they_agree(&environment(&service), &environment(&ingress));
    let drain_ms = options::of_service(&environment(&service)).drain_ms;
    assert!(seconds(&service, "TimeoutStopSec") * 1000 > drain_ms);
    let drain_ms = options::of_ingress(&environment(&ingress)).drain_ms;
    assert!(seconds(&ingress, "TimeoutStopSec") * 1000 > drain_ms);
}

#[test]
fn the_last_use_of_keys_is_written_to_a_folder_of_the_ingress() {
    let ingress = unit("sandpiper-ingress");
    let file = &environment(&ingress)["SANDPIPER_INGRESS_KEY_USES_FILE"];
    let folder = format!("%S/{}/", ingress["StateDirectory"][0]);
    assert!(file.starts_with(&folder), "{file}");
    assert_eq!(ingress["StateDirectoryMode"], ["0700"]);
    // %S is /var/lib.
    let shown = file.replacen("%S", "/var/lib", 1);
    assert!(text("docs/deploy.md").contains(&shown), "{shown}");
}

#[test]
fn fetched_scripts_are_read_by_the_service_and_by_no_other_user() {
    let (service, ingress) = (unit("sandpiper"), unit("sandpiper-ingress"));
    assert_eq!(ingress["RuntimeDirectoryMode"], ["0750"]);
    assert_eq!(ingress["UMask"], ["0027"]);
    assert_eq!(ingress["Group"], service["SupplementaryGroups"]);
    let group = &ingress["Group"][0];
    // The folder of a unit is below /run.
    let folder = format!("/run/{}", ingress["RuntimeDirectory"][0]);
    let environment = environment(&service);
    assert_eq!(environment["SANDPIPER_SOURCES_DIR"], folder);
    // Neither unit starts before the group exists.
    let guide = text("docs/deploy.md");
    assert!(guide.contains(&format!("groupadd --system --force {group}")));
}

#[test]
fn each_unit_is_isolated_and_the_service_can_still_isolate_its_zygotes() {
    for name in ["sandpiper", "sandpiper-ingress"] {
        let unit = unit(name);
        for (setting, value) in [
            ("DynamicUser", "yes"),
            ("CapabilityBoundingSet", ""),
            ("NoNewPrivileges", "yes"),
            ("PrivateUsers", "yes"),
            ("ProtectSystem", "strict"),
            ("SystemCallErrorNumber", "EPERM"),
        ] {
            assert_eq!(unit[setting], [value], "{name}: {setting}");
        }
        assert!(unit["SystemCallFilter"][0].starts_with("@system-service"));
    }
    let service = unit("sandpiper");
    let allowed: Vec<&str> = service["SystemCallFilter"][0].split(' ').collect();
    for call in [
        "landlock_create_ruleset",
        "landlock_add_rule",
        "landlock_restrict_self",
        "seccomp",
    ] {
        assert!(allowed.contains(&call), "{call}");
    }
    // Exactly the namespaces that L4 consists of.
    assert_eq!(service["RestrictNamespaces"], ["user pid net ipc uts mnt"]);
    // With these settings the service would not become ready, or be slow: the unit says why.
    for absent in ["ProtectProc", "MemoryDenyWriteExecute"] {
        assert!(!service.contains_key(absent), "{absent}");
    }
}

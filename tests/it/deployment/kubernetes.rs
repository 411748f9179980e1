//! `deploy/kubernetes.yaml`.

use super::options;
use super::{bytes, named, project, text, yaml};
use serde_json::Value;
use std::process::Command;

fn documents() -> Vec<Value> {
    let text = text("deploy/kubernetes.yaml");
    text.split("\n---\n").map(yaml).collect()
}

fn document(kind: &str) -> Value {
    let mut documents = documents().into_iter();
    documents
        .find(|document| document["kind"] == kind)
        .unwrap_or_else(|| panic!("there is no {kind}"))
}

#[test]
fn every_document_is_as_kubernetes_describes_it() {
    let done = Command::new(project("target/schemas/bin/kubernetes-validate"))
        .args(["--strict", "deploy/kubernetes.yaml"])
        .current_dir(project("."))
        .output()
        .unwrap_or_else(|error| panic!("{error}: `make tools-test`"));
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn its_pods_fit_the_standard_restricted() {
    let pod = &document("Deployment")["spec"]["template"]["spec"];
    let user = &pod["securityContext"];
    assert_eq!(user["runAsNonRoot"], true);
    assert_eq!(user["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["automountServiceAccountToken"], false);
    for container in pod["containers"].as_array().unwrap() {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
    }
}

#[test]
fn the_service_fits_in_its_memory_and_both_agree_and_have_time_to_stop() {
    let pod = &document("Deployment")["spec"]["template"]["spec"];
    let service = named(&pod["containers"], "service");
    let ingress = named(&pod["containers"], "ingress");
    let service_environment = options::of_container(service, "");
    let ingress_environment = options::of_container(ingress, "");
    options::assert_they_agree(&service_environment, &ingress_environment);
    let options = options::of_service(&service_environment);
    let limits = &service["resources"]["limits"];
    let processors = limits["cpu"].as_str().unwrap().parse().unwrap();
    options::assert_service_fits(&options, &limits["memory"], processors);
    assert!(options::image_starts(&ingress_environment));
    let ingress_options = options::of_ingress(&ingress_environment);
    let grace_ms = pod["terminationGracePeriodSeconds"].as_u64().unwrap() * 1000;
    assert!(grace_ms > options.drain_ms && grace_ms > ingress_options.drain_ms);
    let folder = &named(&pod["volumes"], "sources")["emptyDir"];
    assert!(ingress_options.sources.dir_bytes.as_u64() <= bytes(&folder["sizeLimit"]));
}

#[test]
fn the_ingress_asks_for_keys_that_come_from_a_secret() {
    let pod = &document("Deployment")["spec"]["template"]["spec"];
    let ingress = named(&pod["containers"], "ingress");
    let options = options::of_ingress(&options::of_container(ingress, ""));
    let keys = options.keys_file.unwrap();
    let mount = named(&ingress["volumeMounts"], "keys");
    assert_eq!(mount["readOnly"], true);
    let secret = &named(&pod["volumes"], "keys")["secret"];
    let name = secret["items"][0]["path"].as_str().unwrap();
    let path = format!("{}/{name}", mount["mountPath"].as_str().unwrap());
    assert_eq!(keys.to_str(), Some(path.as_str()));
    // The pod does not start without it.
    assert!(secret.get("optional").is_none());
    // The service needs none of it.
    let service = &named(&pod["containers"], "service")["volumeMounts"];
    let mut mounts = service.as_array().unwrap().iter();
    assert!(mounts.all(|mount| mount["name"] != "keys"));
}

#[test]
fn only_pods_that_are_named_reach_the_ingress_and_none_the_service() {
    let policy = &document("NetworkPolicy")["spec"];
    assert_eq!(policy["egress"], serde_json::json!([]));
    let rules = policy["ingress"].as_array().unwrap();
    for rule in rules {
        assert_eq!(rule["ports"], serde_json::json!([{"port": "http"}]));
        let peers = rule["from"].as_array().unwrap();
        // A rule without peers admits everybody, and so does an empty selector.
        assert!(!peers.is_empty());
        for peer in peers {
            let labels = &peer["podSelector"]["matchLabels"];
            assert!(!labels.as_object().unwrap().is_empty(), "{peer}");
        }
    }
    // Whatever the policy says, nothing outside of its pod reaches the service.
    let pod = &document("Deployment")["spec"]["template"]["spec"];
    let service = named(&pod["containers"], "service");
    let options = options::of_service(&options::of_container(service, ""));
    assert!(options.host.is_loopback(), "{}", options.host);
    assert!(service.get("ports").is_none());
}

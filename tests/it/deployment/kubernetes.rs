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
    let ingress_options = options::of_ingress(&ingress_environment);
    let grace_ms = pod["terminationGracePeriodSeconds"].as_u64().unwrap() * 1000;
    assert!(grace_ms > options.drain_ms && grace_ms > ingress_options.drain_ms);
    let folder = &named(&pod["volumes"], "sources")["emptyDir"];
    assert!(ingress_options.sources.dir_bytes.as_u64() <= bytes(&folder["sizeLimit"]));
}

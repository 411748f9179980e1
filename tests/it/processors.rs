//! The processors on which executors, their zygotes and so their job processes run.

use crate::support::{Service, children_of};

/// Returns the processors that a process may use, as the kernel lists them.
fn processors_of(pid: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = |line: &str| Some(line.strip_prefix("Cpus_allowed_list:")?.trim().to_owned());
    status.lines().find_map(line).unwrap()
}

/// Returns the processors of each executor's zygote.
fn processors_of_zygotes(options: &[&str]) -> Vec<String> {
    let service = Service::start_with(options);
    assert_eq!(service.result("1 + 2"), 3);
    let zygotes = children_of(service.pid());
    zygotes
        .iter()
        .map(|zygote| processors_of(&zygote.to_string()))
        .collect()
}

fn count() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

#[test]
fn where_there_is_a_processor_for_each_executor_each_has_its_own() {
    let mut seen = processors_of_zygotes(&["--executors", &count().to_string()]);
    let all = seen.len();
    assert_eq!(all, count());
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all, "two share one: {seen:?}");
    assert!(
        seen.iter().all(|list| list.parse::<usize>().is_ok()),
        "{seen:?}"
    );
}

#[test]
fn where_there_is_not_they_run_wherever_there_is_room() {
    let everywhere = processors_of("self");
    for executors in [count() + 1, 2 * count()] {
        let seen = processors_of_zygotes(&["--executors", &executors.to_string()]);
        assert!(seen.iter().all(|list| *list == everywhere), "{seen:?}");
    }
}

#[test]
fn executors_are_not_pinned_with_never() {
    let everywhere = processors_of("self");
    let executors = count().to_string();
    let seen = processors_of_zygotes(&["--executors", &executors, "--pin-executors", "never"]);
    assert!(seen.iter().all(|list| *list == everywhere), "{seen:?}");
}

//! `sandpiper backup`.

use crate::stores::Folder;
use crate::support::Service;
use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn backup(store: &str, file: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sandpiper"))
        .args(["backup", "--store", store, file])
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_copy_that_is_taken_while_jobs_come_in_is_whole_and_a_service_goes_on_from_it() {
    let folder = Folder::new();
    let store = format!("sqlite:{}", folder.text("jobs.db"));
    let service = Service::start_with(&["--store", &store]);
    let before: Vec<String> = (0..50)
        .map(|number| service.submit(&json!({"code": format!("{number} * 2")})))
        .collect();
    for id in &before[..25] {
        service.finished(id);
    }
    let is_over = AtomicBool::new(false);
    let copy = folder.text("copy.db");
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                service.submit(&json!({"code": "1"}));
            }
        });
        let done = backup(&store, &copy);
        is_over.store(true, Ordering::Relaxed);
        assert!(done.status.success(), "{}", said(&done));
    });
    let rights = std::fs::metadata(&copy).unwrap().permissions().mode();
    assert_eq!(rights & 0o777, 0o600);
    drop(service);

    // As after the loss of the first database.
    let restored = Service::start_with(&["--store", &format!("sqlite:{copy}")]);
    for (number, id) in before.iter().enumerate() {
        let job = restored.finished(id);
        assert_eq!(job["execution"]["result"], 2 * number, "{job}");
    }
}

#[test]
fn a_copy_can_be_taken_through_standard_output_and_leaves_no_file() {
    let folder = Folder::new();
    let store = format!("sqlite:{}", folder.text("jobs.db"));
    let service = Service::start_with(&["--store", &store]);
    let id = service.submit(&json!({"code": "6 * 7"}));
    service.finished(&id);
    let done = backup(&store, "-");
    assert!(done.status.success(), "{}", said(&done));
    let left = std::fs::read_dir(folder.text("")).unwrap().flatten();
    let left = left.filter(|entry| entry.file_name().to_string_lossy().contains("backup"));
    assert_eq!(left.count(), 0);
    drop(service);
    let copy = folder.text("copy.db");
    std::fs::write(&copy, done.stdout).unwrap();
    let restored = Service::start_with(&["--store", &format!("sqlite:{copy}")]);
    assert_eq!(restored.finished(&id)["execution"]["result"], 42);
}

#[test]
fn a_copy_overwrites_nothing_and_what_cannot_be_copied_leaves_nothing_behind() {
    let folder = Folder::new();
    let copy = folder.text("copy.db");
    let missing = format!("sqlite:{}", folder.text("missing.db"));
    let done = backup(&missing, &copy);
    assert_eq!(done.status.code(), Some(2));
    assert!(
        said(&done).contains("missing.db cannot be copied"),
        "{}",
        said(&done)
    );
    assert!(!std::path::Path::new(&copy).exists());

    std::fs::write(&copy, "kept").unwrap();
    let done = backup(&missing, &copy);
    assert!(
        said(&done).contains("copy.db cannot be made"),
        "{}",
        said(&done)
    );
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), "kept");

    let done = backup(
        "postgres://somebody@127.0.0.1/jobs",
        &folder.text("other.db"),
    );
    assert!(said(&done).contains("pg_dump"), "{}", said(&done));
}

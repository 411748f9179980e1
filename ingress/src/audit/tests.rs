//! The channel, the writer and the file of the audit log.

use super::record::record_for_tests;
use super::*;
use std::fs;
use std::io::{Read as _, pipe};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("sandpiper-audit-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn statuses(text: &str) -> Vec<u64> {
    let lines = text.lines().map(serde_json::from_str::<serde_json::Value>);
    lines
        .map(|line| line.unwrap()["status"].as_u64().unwrap())
        .collect()
}

#[test]
fn records_are_written_in_order_until_the_stop() {
    let folder = Folder::new("order");
    let path = folder.0.join("audit.jsonl");
    let meters = Arc::<Meters>::default();
    let audit = Audit::start(&AuditLog::File(path.clone()), Arc::clone(&meters)).unwrap();
    for number in 0..1000 {
        audit.send(record_for_tests(number));
    }
    audit.stop();
    let written = statuses(&fs::read_to_string(&path).unwrap());
    assert_eq!(written, (0..1000).collect::<Vec<_>>());
    assert_eq!(meters.audit_written.get(), 1000);
    // The writer has ended.
    audit.send(record_for_tests(1));
    assert_eq!(meters.audit_dropped.get(), 1);
}

#[test]
fn a_replaced_or_removed_file_is_opened_anew() {
    let folder = Folder::new("replaced");
    let path = folder.0.join("audit.jsonl");
    let mut destination = Destination::open(&AuditLog::File(path.clone())).unwrap();
    destination.append(b"one\n").unwrap();
    fs::rename(&path, folder.0.join("old")).unwrap();
    destination.append(b"two\n").unwrap();
    fs::remove_file(&path).unwrap();
    destination.append(b"three\n").unwrap();
    assert_eq!(fs::read_to_string(folder.0.join("old")).unwrap(), "one\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    // An existing file is appended to.
    let mut again = Destination::open(&AuditLog::File(path.clone())).unwrap();
    again.append(b"four\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "three\nfour\n");
}

#[test]
fn a_destination_that_is_not_read_blocks_no_request() {
    let (mut reader, writer) = pipe().unwrap();
    let meters = Arc::<Meters>::default();
    let destination = Destination::of(OwnedFd::from(writer).into(), None);
    let audit = Audit::with_capacity(destination, 16, Arc::clone(&meters)).unwrap();
    let (mut sent, mut accepted) = (0, 0);
    let mut last_accepted = Instant::now();
    // Until pipe and channel are full.
    while last_accepted.elapsed() < Duration::from_millis(500) {
        audit.send(record_for_tests(200));
        sent += 1;
        if sent - meters.audit_dropped.get() > accepted {
            accepted += 1;
            last_accepted = Instant::now();
        }
    }
    let began = Instant::now();
    audit.stop();
    assert!(began.elapsed() >= STOP_TIMEOUT);
    assert!(began.elapsed() < Duration::from_secs(20));
    // Once something reads, the lines that were accepted are whole.
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    audit.stop();
    let written = statuses(&reading.join().unwrap());
    assert_eq!(u64::try_from(written.len()).unwrap(), accepted);
}

#[test]
fn a_full_disk_loses_lines_and_counts_them() {
    let meters = Arc::<Meters>::default();
    let full = AuditLog::File("/dev/full".into());
    let audit = Audit::start(&full, Arc::clone(&meters)).unwrap();
    for number in 0..10 {
        audit.send(record_for_tests(number));
    }
    audit.stop();
    assert_eq!(meters.audit_failed.get(), 10);
    assert_eq!(meters.audit_written.get(), 0);
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_with_its_path() {
    let log = AuditLog::File("/nowhere/audit.jsonl".into());
    let error = Audit::start(&log, Arc::default()).unwrap_err();
    assert!(
        error.to_string().contains("/nowhere/audit.jsonl"),
        "{error}"
    );
    assert!("".parse::<AuditLog>().is_err());
    assert_eq!("-".parse(), Ok(AuditLog::StandardOutput));
}

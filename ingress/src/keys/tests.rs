//! Keys as they are made, kept, presented and replaced.

use super::*;
use crate::limits::Class;
use crate::limits::{Limits, Quotas};
use governor::clock::DefaultClock;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("sandpiper-keys-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("keys.json")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn quotas() -> Quotas {
    Quotas {
        run: "1/h:2".parse().unwrap(),
        read: "1/h:2".parse().unwrap(),
    }
}

fn new_key(scopes: &[Scope]) -> NewKey {
    NewKey {
        name: "a test".to_owned(),
        scopes: scopes.to_vec(),
        run_quota: None,
        read_quota: None,
        requests_max: None,
    }
}

#[test]
fn a_new_key_is_found_and_its_secret_is_nowhere_in_the_file() {
    let folder = Folder::new("new");
    let text = write_new(&folder.file(), new_key(&[Scope::Execute])).unwrap();
    let ring = KeyRing::new(&load(&folder.file()).unwrap(), quotas(), 5);
    let key = ring.find(&text).unwrap();
    assert!(key.allows(Scope::Execute) && !key.allows(Scope::Read));
    assert_eq!(key.requests_max(), 5);
    let secret = text.rsplit('_').next().unwrap();
    assert_eq!(secret.len(), 64);
    assert!(!fs::read_to_string(folder.file()).unwrap().contains(secret));
    let mode = fs::metadata(folder.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn keys_are_added_to_those_that_are_there() {
    let folder = Folder::new("added");
    let first = write_new(&folder.file(), new_key(&[Scope::Read])).unwrap();
    let second = write_new(&folder.file(), new_key(&[Scope::Jobs])).unwrap();
    let ring = KeyRing::new(&load(&folder.file()).unwrap(), quotas(), 5);
    assert_eq!(ring.len(), 2);
    assert_ne!(
        ring.find(&first).unwrap().id(),
        ring.find(&second).unwrap().id()
    );
}

#[test]
fn what_is_nearly_a_key_is_none() {
    let folder = Folder::new("nearly");
    let key = write_new(&folder.file(), new_key(&[Scope::Read])).unwrap();
    let ring = KeyRing::new(&load(&folder.file()).unwrap(), quotas(), 5);
    let last = if key.ends_with('0') { "1" } else { "0" };
    for wrong in [
        String::new(),
        "sp_".to_owned(),
        key[..key.len() - 1].to_owned(),
        format!("{key}0"),
        format!("{}{last}", &key[..key.len() - 1]),
        key.to_uppercase(),
        key.replace("sp_", "SP_"),
        format!(" {key}"),
        key.replacen('_', "", 1),
    ] {
        assert_eq!(ring.find(&wrong).unwrap_err(), Unknown, "{wrong}");
    }
    assert!(ring.find(&key).is_ok());
}

#[test]
fn a_new_file_replaces_the_keys_and_gives_no_one_a_new_quota() {
    let folder = Folder::new("replaced");
    let stays = write_new(&folder.file(), new_key(&[Scope::Read])).unwrap();
    let both = load(&folder.file()).unwrap();
    let goes = write_new(&folder.file(), new_key(&[Scope::Read])).unwrap();
    let ring = KeyRing::new(&load(&folder.file()).unwrap(), quotas(), 5);
    let limits = Limits::new(
        "9/s:9".parse().unwrap(),
        quotas(),
        10,
        &DefaultClock::default(),
    );
    let use_up = || {
        (0..5).filter(|_| {
            limits
                .check_key(ring.find(&stays).unwrap().buckets(), Class::Read)
                .is_ok()
        })
    };
    assert_eq!(use_up().count(), 2);
    ring.replace(&both);
    assert_eq!(use_up().count(), 0);
    assert_eq!(ring.find(&goes).unwrap_err(), Unknown);
}

#[test]
fn a_file_that_is_wrong_says_where() {
    let folder = Folder::new("wrong");
    let id = "00000000000000aa";
    let digest = "0".repeat(64);
    let entry = |rest: &str| {
        format!(r#"{{"id":"{id}","name":"n","sha256":"{digest}","scopes":["read"]{rest}}}"#)
    };
    let good = entry("");
    for (text, said) in [
        ("{".to_owned(), "EOF"),
        (r#"{"keys":[],"more":1}"#.to_owned(), "unknown field `more`"),
        (
            format!(r#"{{"keys":[{}]}}"#, entry(r#","runQuota":"fast""#)),
            "20/s:40",
        ),
        (
            format!(r#"{{"keys":[{}]}}"#, good.replace("read", "root")),
            "unknown variant `root`",
        ),
        (
            format!(r#"{{"keys":[{}]}}"#, good.replace(&digest, "12")),
            "64 lower-case",
        ),
        (format!(r#"{{"keys":[{good},{good}]}}"#), "twice"),
    ] {
        fs::write(folder.file(), &text).unwrap();
        let error = load(&folder.file()).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
    let missing = load(&folder.0.join("none.json")).unwrap_err().to_string();
    assert!(missing.contains("none.json"), "{missing}");
}

//! Keys: creation, storage, verification and replacement.

use super::*;
use crate::limits::Class;
use crate::limits::{ClientBounds, Limits, Quotas};
use governor::clock::DefaultClock;
use std::fs;
use std::num::NonZeroU32;
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
        assert!(ring.find(&wrong).is_none(), "{wrong}");
    }
    assert!(ring.find(&key).is_some());
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
        "9/s:9".parse().unwrap(),
        &ClientBounds {
            clients_max: 10,
            network_clients: NonZeroU32::MIN,
        },
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
    assert!(ring.find(&goes).is_none());
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

#[test]
fn a_key_that_is_gone_or_may_do_less_is_revoked_and_others_are_not() {
    let folder = Folder::new("revoked");
    let goes = write_new(&folder.file(), new_key(&[Scope::Read])).unwrap();
    let shrinks = write_new(&folder.file(), new_key(&[Scope::Read, Scope::Jobs])).unwrap();
    let stays = write_new(&folder.file(), new_key(&[Scope::Read])).unwrap();
    let mut file = load(&folder.file()).unwrap();
    let ring = KeyRing::new(&file, quotas(), 5);
    let [goes, shrinks, stays] = [&goes, &shrinks, &stays].map(|key| ring.find(key).unwrap());
    ring.replace(&file);
    assert!(![&goes, &shrinks, &stays].iter().any(|key| key.is_revoked()));
    file.keys.retain(|entry| entry.id != goes.id());
    for entry in &mut file.keys {
        entry.requests_max = Some(9);
        entry.scopes = vec![Scope::Read];
    }
    ring.replace(&file);
    let revoked = [&goes, &shrinks, &stays].map(|key| key.is_revoked());
    assert_eq!(revoked, [true, true, false]);
}

#[test]
fn a_file_that_is_added_to_keeps_its_permissions_and_a_link_stays_one() {
    let folder = Folder::new("permissions");
    write_new(&folder.file(), new_key(&[Scope::Read])).unwrap();
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o640)).unwrap();
    let link = folder.0.join("link.json");
    std::os::unix::fs::symlink(folder.file(), &link).unwrap();
    write_new(&link, new_key(&[Scope::Read])).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let mode = fs::metadata(folder.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(load(&folder.file()).unwrap().keys.len(), 2);
    let names = fs::read_dir(&folder.0).unwrap().count();
    assert_eq!(names, 2, "something was left behind");
}

//! Keys: creation, storage, verification and replacement.

use super::commands::{
    NewKey, Rotation, Subject, assign, change_budgets, create, list, revoke, rotate,
};
use super::file::KeyFile;
use super::*;
use crate::limits::Class;
use crate::limits::{ClientBounds, Limits, Quotas};
use crate::timestamp::Timestamp;
use governor::clock::DefaultClock;
use std::fs;
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

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
        tenant: None,
        scopes: scopes.to_vec(),
        expires: None,
        run_quota: None,
        read_quota: None,
        requests_max: None,
        budgets: Vec::new(),
        note: None,
    }
}

#[test]
fn a_new_key_is_found_and_its_secret_is_nowhere_in_the_file() {
    let folder = Folder::new("new");
    let text = create(&folder.file(), new_key(&[Scope::Execute])).unwrap();
    let ring = KeyRing::new(&load(&folder.file()).unwrap(), quotas(), 5);
    let key = ring.find(&text).unwrap().key;
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
    let first = create(&folder.file(), new_key(&[Scope::Read])).unwrap();
    let second = create(&folder.file(), new_key(&[Scope::Jobs])).unwrap();
    let ring = KeyRing::new(&load(&folder.file()).unwrap(), quotas(), 5);
    assert_eq!(ring.len(), 2);
    assert_ne!(
        ring.find(&first).unwrap().key.id(),
        ring.find(&second).unwrap().key.id()
    );
}

#[test]
fn what_is_nearly_a_key_is_none() {
    let folder = Folder::new("nearly");
    let key = create(&folder.file(), new_key(&[Scope::Read])).unwrap();
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
        let error = ring.find(&wrong).unwrap_err();
        assert!(matches!(error, KeyError::Unknown), "{wrong}");
    }
    assert!(ring.find(&key).is_ok());
}

#[test]
fn a_new_file_replaces_the_keys_and_gives_no_one_a_new_quota() {
    let folder = Folder::new("replaced");
    let stays = create(&folder.file(), new_key(&[Scope::Read])).unwrap();
    let both = load(&folder.file()).unwrap();
    let goes = create(&folder.file(), new_key(&[Scope::Read])).unwrap();
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
                .check_key(ring.find(&stays).unwrap().key.buckets(), Class::Read)
                .is_ok()
        })
    };
    assert_eq!(use_up().count(), 2);
    ring.replace(&both);
    assert_eq!(use_up().count(), 0);
    assert!(ring.find(&goes).is_err());
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
    let tenants = |tenants: &str| format!(r#"{{"keys":[],"tenants":[{tenants}]}}"#);
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
        (
            format!(r#"{{"keys":[{}]}}"#, entry(r#","tenant":"default""#)),
            "`default`",
        ),
        (
            format!(r#"{{"keys":[{}]}}"#, entry(r#","tenant":"key:1""#)),
            "1 to 64",
        ),
        (
            format!(r#"{{"keys":[{}]}}"#, entry(r#","expires":"soon""#)),
            "RFC 3339",
        ),
        (
            format!(
                r#"{{"keys":[{}]}}"#,
                entry(r#","budgets":{"day":{"executions":0}}"#)
            ),
            "budgets.day.executions is 0",
        ),
        (
            format!(
                r#"{{"keys":[{}]}}"#,
                entry(r#","previous":{"until":"2027-01-31T00:00:00Z"}"#)
            ),
            "missing field `sha256`",
        ),
        (
            tenants(r#"{"name":"a"},{"name":"a"}"#),
            "the tenant a occurs twice",
        ),
        (
            tenants(r#"{"name":"a","budgets":{"month":{"cpuSeconds":-1}}}"#),
            "budgets.month.cpuSeconds is -1",
        ),
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
    let goes = create(&folder.file(), new_key(&[Scope::Read])).unwrap();
    let shrinks = create(&folder.file(), new_key(&[Scope::Read, Scope::Jobs])).unwrap();
    let stays = create(&folder.file(), new_key(&[Scope::Read])).unwrap();
    let mut file = load(&folder.file()).unwrap();
    let ring = KeyRing::new(&file, quotas(), 5);
    let [goes, shrinks, stays] = [&goes, &shrinks, &stays].map(|key| ring.find(key).unwrap());
    ring.replace(&file);
    let ended = |credential: &Credential| credential.ended();
    assert_eq!([&goes, &shrinks, &stays].map(ended), [None; 3]);
    file.keys.retain(|entry| entry.id != goes.key.id());
    for entry in &mut file.keys {
        entry.requests_max = Some(9);
        entry.scopes = vec![Scope::Read];
    }
    ring.replace(&file);
    let revoked = Some(CredentialEnd::Revoked);
    assert_eq!(
        [&goes, &shrinks, &stays].map(ended),
        [revoked, revoked, None]
    );
}

#[test]
fn a_file_that_is_added_to_keeps_its_permissions_and_a_link_stays_one() {
    let folder = Folder::new("permissions");
    create(&folder.file(), new_key(&[Scope::Read])).unwrap();
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o640)).unwrap();
    let link = folder.0.join("link.json");
    std::os::unix::fs::symlink(folder.file(), &link).unwrap();
    create(&link, new_key(&[Scope::Read])).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let mode = fs::metadata(folder.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(load(&folder.file()).unwrap().keys.len(), 2);
    let names = fs::read_dir(&folder.0).unwrap().count();
    assert_eq!(names, 2, "something was left behind");
}

#[test]
fn a_file_that_others_may_write_is_refused_with_the_remedy() {
    let folder = Folder::new("mode");
    create(&folder.file(), new_key(&[Scope::Read])).unwrap();
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(folder.file(), fs::Permissions::from_mode(mode)).unwrap();
        let said = load(&folder.file()).unwrap_err().to_string();
        assert!(said.contains(&format!("{mode:04o}")), "{said}");
        assert!(said.contains("chmod go-w"), "{said}");
    }
    for mode in [0o400, 0o644, 0o755] {
        fs::set_permissions(folder.file(), fs::Permissions::from_mode(mode)).unwrap();
        assert!(load(&folder.file()).is_ok());
    }
}

#[test]
fn a_file_without_the_newer_fields_is_written_without_them() {
    let folder = Folder::new("older");
    let text = format!(
        r#"{{
  "keys": [
    {{
      "id": "80b0bcab28bcae82",
      "name": "nightly reports",
      "sha256": "{}",
      "scopes": [
        "execute",
        "read"
      ],
      "runQuota": "5/s:10",
      "readQuota": "20/s:40",
      "requestsMax": 8
    }}
  ]
}}
"#,
        "a8".repeat(32)
    );
    fs::write(folder.file(), &text).unwrap();
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o600)).unwrap();
    let file = load(&folder.file()).unwrap();
    file::store(&folder.file(), &file).unwrap();
    assert_eq!(fs::read_to_string(folder.file()).unwrap(), text);
}

fn identity(folder: &Folder, key: &str) -> [String; 5] {
    let ring = KeyRing::new(&load(&folder.file()).unwrap(), quotas(), 5);
    let key = ring.find(key).unwrap().key;
    let identity = key.identity();
    let text = |value: &hyper::header::HeaderValue| value.to_str().unwrap().to_owned();
    [
        text(&identity.client),
        text(&identity.tenant),
        text(&identity.key),
        text(&identity.scopes),
        identity.budget.as_ref().map_or_else(String::new, text),
    ]
}

#[test]
fn the_service_is_told_of_tenant_scopes_and_budgets() {
    let folder = Folder::new("identity");
    let alone = create(&folder.file(), new_key(&[Scope::Read, Scope::Execute])).unwrap();
    let id = |key: &str| key.split('_').nth(1).unwrap().to_owned();
    let own = format!("key:{}", id(&alone));
    assert_eq!(
        identity(&folder, &alone),
        [&own, &own, &id(&alone), "execute,read", ""]
    );
    let acme: TenantName = "acme".parse().unwrap();
    let shared = NewKey {
        tenant: Some(acme.clone()),
        budgets: vec!["month:executions=20000".parse().unwrap()],
        ..new_key(&[Scope::Admin])
    };
    let shared = create(&folder.file(), shared).unwrap();
    let changes = ["day:cpuSeconds=60", "day:executions=1000"];
    let changes = changes.map(|change| change.parse().unwrap());
    let subject = Subject::Tenant(acme.clone());
    change_budgets(&folder.file(), &subject, &changes).unwrap();
    let budgets = "tenant-day;executions=1000;cpuSeconds=60, key-month;executions=20000";
    assert_eq!(
        identity(&folder, &shared),
        ["tenant:acme", "acme", &id(&shared), "admin", budgets]
    );
    let assigned = assign(&folder.file(), id(&alone).parse().unwrap(), &acme).unwrap();
    assert_eq!(assigned, own);
    let moved = identity(&folder, &alone);
    assert_eq!(moved[..2], ["tenant:acme", "acme"]);
    assert_eq!(moved[4], "tenant-day;executions=1000;cpuSeconds=60");
    // A tenant without a key is a mistake.
    let nobody = Subject::Tenant("acne".parse().unwrap());
    let said = change_budgets(&folder.file(), &nobody, &changes).unwrap_err();
    assert!(said.to_string().contains("acne"), "{said}");
}

#[test]
fn admin_may_read_and_not_run() {
    let folder = Folder::new("admin");
    let key = create(&folder.file(), new_key(&[Scope::Admin])).unwrap();
    let ring = KeyRing::new(&load(&folder.file()).unwrap(), quotas(), 5);
    let key = ring.find(&key).unwrap().key;
    let scopes = [Scope::Execute, Scope::Jobs, Scope::Read, Scope::Admin];
    let allowed = scopes.map(|scope| key.allows(scope));
    assert_eq!(allowed, [false, false, true, true]);
}

#[tokio::test]
async fn an_expired_key_is_unknown_from_its_time_on_and_ends_open_requests() {
    let folder = Folder::new("expired");
    let soon = NewKey {
        expires: Some(Timestamp::now().plus(Duration::from_secs(2))),
        ..new_key(&[Scope::Read])
    };
    let key = create(&folder.file(), soon).unwrap();
    let ring = KeyRing::new(&load(&folder.file()).unwrap(), quotas(), 5);
    let credential = ring.find(&key).unwrap();
    assert_eq!((credential.ended(), ring.len()), (None, 1));
    assert_eq!(credential.end().await, CredentialEnd::Expired);
    assert_eq!(credential.ended(), Some(CredentialEnd::Expired));
    let error = ring.find(&key).unwrap_err();
    assert!(matches!(error, KeyError::Expired(..)), "{error}");
    assert_eq!(ring.len(), 0);
    // A wrong secret learns nothing of the key.
    let wrong = format!("{}{}", &key[..key.len() - 64], "0".repeat(64));
    assert!(matches!(ring.find(&wrong), Err(KeyError::Unknown)));
    // A later expiry makes the key valid again, also for requests that are open.
    let mut file = load(&folder.file()).unwrap();
    file.keys[0].expires = None;
    ring.replace(&file);
    assert_eq!(credential.ended(), None);
    assert!(ring.find(&key).is_ok());
}

#[tokio::test]
async fn a_rotated_key_has_both_secrets_for_the_overlap() {
    let folder = Folder::new("rotated");
    let old = create(&folder.file(), new_key(&[Scope::Read])).unwrap();
    let id: KeyId = old.split('_').nth(1).unwrap().parse().unwrap();
    let ring = KeyRing::new(&load(&folder.file()).unwrap(), quotas(), 5);
    let reload = || ring.replace(&load(&folder.file()).unwrap());
    let open = ring.find(&old).unwrap();
    let overlap = Rotation {
        overlap: Some(Duration::from_secs(2)),
        ..Rotation::default()
    };
    let new = rotate(&folder.file(), id, overlap).unwrap().key;
    reload();
    assert_eq!(ring.find(&old).unwrap().key.id(), id);
    let of_new = ring.find(&new).unwrap();
    assert_eq!(of_new.key.id(), id);
    assert_eq!(open.ended(), None);
    assert_eq!(open.end().await, CredentialEnd::Expired);
    let error = ring.find(&old).unwrap_err();
    assert!(matches!(error, KeyError::Replaced(..)), "{error}");
    assert_eq!(of_new.ended(), None);
    // Without an overlap the old secret ends at once.
    let newest = rotate(&folder.file(), id, Rotation::default()).unwrap().key;
    reload();
    assert_eq!(of_new.ended(), Some(CredentialEnd::Revoked));
    for gone in [&old, &new] {
        assert!(matches!(ring.find(gone), Err(KeyError::Unknown)));
    }
    assert!(ring.find(&newest).is_ok());
}

#[test]
fn a_key_that_changes_its_tenant_ends_its_open_requests() {
    let folder = Folder::new("assigned");
    let key = create(&folder.file(), new_key(&[Scope::Read])).unwrap();
    let ring = KeyRing::new(&load(&folder.file()).unwrap(), quotas(), 5);
    let open = ring.find(&key).unwrap();
    assign(&folder.file(), open.key.id(), &"acme".parse().unwrap()).unwrap();
    ring.replace(&load(&folder.file()).unwrap());
    assert_eq!(open.ended(), Some(CredentialEnd::Revoked));
    assert_eq!(ring.find(&key).unwrap().key.owner(), "acme");
}

#[test]
fn a_command_for_an_unknown_key_changes_nothing() {
    let folder = Folder::new("unknown");
    create(&folder.file(), new_key(&[Scope::Read])).unwrap();
    let before = fs::read(folder.file()).unwrap();
    let id: KeyId = "00000000000000aa".parse().unwrap();
    let file = folder.file();
    let nobody = Subject::Tenant("nobody".parse().unwrap());
    for error in [
        rotate(&file, id, Rotation::default()).unwrap_err(),
        revoke(&file, &Subject::Key(id)).unwrap_err(),
        revoke(&file, &nobody).unwrap_err(),
        assign(&file, id, &"acme".parse().unwrap()).unwrap_err(),
        change_budgets(&file, &Subject::Key(id), &[]).unwrap_err(),
    ] {
        let said = error.to_string();
        let names = said.contains("00000000000000aa") || said.contains("nobody");
        assert!(names && said.contains("key list"), "{said}");
    }
    assert_eq!(fs::read(folder.file()).unwrap(), before);
}

#[test]
fn an_expired_key_is_rotated_only_with_a_later_expiry() {
    let folder = Folder::new("renewed");
    let past = NewKey {
        expires: Some("2020-01-01T00:00:00Z".parse().unwrap()),
        ..new_key(&[Scope::Read])
    };
    let key = create(&folder.file(), past).unwrap();
    let id: KeyId = key.split('_').nth(1).unwrap().parse().unwrap();
    let said = rotate(&folder.file(), id, Rotation::default()).unwrap_err();
    assert!(said.to_string().contains("--expires"), "{said}");
    let later = Rotation {
        expires: Some(Timestamp::now().plus(Duration::from_hours(1))),
        ..Rotation::default()
    };
    let key = rotate(&folder.file(), id, later).unwrap().key;
    let ring = KeyRing::new(&load(&folder.file()).unwrap(), quotas(), 5);
    assert!(ring.find(&key).is_ok());
}

#[test]
fn last_uses_are_written_beside_the_file_and_read_again() {
    let folder = Folder::new("uses");
    let used = create(&folder.file(), new_key(&[Scope::Read])).unwrap();
    create(&folder.file(), new_key(&[Scope::Read])).unwrap();
    let file = load(&folder.file()).unwrap();
    let ring = KeyRing::new(&file, quotas(), 5);
    let uses = UsesFile::new(None, &folder.file());
    let path = folder.0.join("keys.json.used.json");
    assert!(!uses.write(&ring).unwrap());
    assert!(!path.exists(), "no use was written");
    let key = ring.find(&used).unwrap().key;
    uses.write(&ring).unwrap();
    let written = uses.read().unwrap();
    assert_eq!(written.keys().collect::<Vec<_>>(), [&key.id()]);
    let before = Stamp::of(&path);
    assert!(!uses.write(&ring).unwrap());
    assert_eq!(Stamp::of(&path), before, "an unchanged file was replaced");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Another ingress has seen a later use, which stays.
    let later = Timestamp::now().plus(Duration::from_hours(1));
    let other = KeyRing::new(&file, quotas(), 5);
    other.find(&used).unwrap().key.last_use().record(later);
    uses.write(&other).unwrap();
    uses.write(&ring).unwrap();
    assert_eq!(uses.read().unwrap()[&key.id()], later);
    let restarted = KeyRing::new(&file, quotas(), 5);
    uses.restore(&restarted).unwrap();
    fs::remove_file(&path).unwrap();
    uses.write(&restarted).unwrap();
    assert_eq!(uses.read().unwrap()[&key.id()], later);
    let (listed, failure) = list(&folder.file(), None).unwrap();
    assert!(failure.is_none());
    let text = listed.to_text();
    assert!(text.contains(&later.to_string()), "{text}");
    // Uses of removed keys are left out, and a file that is no list of uses is replaced.
    fs::write(&path, "no list").unwrap();
    assert!(list(&folder.file(), None).unwrap().1.is_some());
    uses.write(&KeyRing::new(&KeyFile::default(), quotas(), 5))
        .unwrap();
    assert!(uses.read().unwrap().is_empty());
}

#[test]
fn a_list_shows_keys_and_tenants_and_no_hash() {
    let folder = Folder::new("list");
    let key = NewKey {
        tenant: Some("acme".parse().unwrap()),
        budgets: vec!["day:executions=5".parse().unwrap()],
        note: Some("of the intranet".to_owned()),
        ..new_key(&[Scope::Read])
    };
    create(&folder.file(), key).unwrap();
    let file = load(&folder.file()).unwrap();
    let (listed, _) = list(&folder.file(), None).unwrap();
    let json = serde_json::to_string(&listed).unwrap();
    for text in [&listed.to_text(), &json] {
        for part in [
            &file.keys[0].id.to_string(),
            "acme",
            "read",
            "of the intranet",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains(&to_hex(&file.keys[0].sha256)), "{text}");
    }
}

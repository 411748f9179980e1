//! Ambiguous spellings of each route: rejected, or held to the scope and the quota of the route.

use super::support::{Answer, Connection, Folder, Running, ingress, service};
use std::collections::BTreeSet;
use std::process::Command;

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/// Enough for every request of a test.
const QUOTAS: [&str; 6] = [
    "--total-quota",
    "1000000/s:1000000",
    "--read-quota",
    "1000000/s:1000000",
    "--run-quota",
    "1000000/s:1000000",
];

/// Returns the paths of the OpenAPI document, with an id or a name in place of each placeholder.
fn routes(program: &Running) -> Vec<String> {
    let description = program.get("/api/openapi.json").json();
    let paths = description["paths"].as_object().unwrap();
    let paths: Vec<String> = paths
        .keys()
        .map(|path| path.replace("{id}", "0197").replace("{name}", "simple.js"))
        .map(|path| path.replace("{tenant}", "acme"))
        .collect();
    assert!(paths.len() >= 12, "{paths:?}");
    paths
}

/// Returns other spellings of a path.
fn disguises(path: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, character) in path.char_indices() {
        let (before, after) = (&path[..at], &path[at + 1..]);
        if character == '/' {
            for slash in ["//", "/./", "/x/../", "/;x/"] {
                found.insert(format!("{before}{slash}{after}"));
            }
        }
        if at == 0 {
            // A request target begins with a slash.
            continue;
        }
        let code = u32::from(character);
        for escape in [
            format!("%{code:02x}"),
            format!("%{code:02X}"),
            format!("%25{code:02x}"),
            format!("{character};x"),
            character.to_ascii_uppercase().to_string(),
        ] {
            found.insert(format!("{before}{escape}{after}"));
        }
        if character == '/' {
            for slash in ["\\", ";x/", "/%00"] {
                found.insert(format!("{before}{slash}{after}"));
            }
        }
    }
    for end in [
        "/", "//", ";x", "%2f", "%3b", "%00", "%20", "/.", "/..", "\\",
    ] {
        found.insert(format!("{path}{end}"));
    }
    found.insert(format!("http://elsewhere{path}"));
    found.remove(path);
    found
}

struct Prober<'a> {
    program: &'a Running,
    connection: Connection,
    key: String,
}

impl Prober<'_> {
    fn ask(&mut self, method: &str, target: &str) -> Answer {
        let code = r#"{"code":"1"}"#;
        let body = if method == "POST" { code } else { "" };
        let headers = [self.key.as_str(), "content-type: application/json"];
        let headers = if self.key.is_empty() {
            &headers[1..]
        } else {
            &headers[..]
        };
        self.connection.request(method, target, headers, body);
        let answer = self.connection.answer_to(method);
        if ends_its_connection(&answer) {
            self.connection = self.program.connect();
        }
        answer
    }
}

/// Returns true if the program closes the connection after this response. The parser rejects without a problem, and
/// closes.
fn ends_its_connection(answer: &Answer) -> bool {
    answer.header("connection") == "close"
        || (answer.status >= 400 && answer.header("content-type") != "application/problem+json")
}

/// The decision of the ingress: the quota that is counted, and whether a scope is missing.
fn decision(answer: &Answer) -> (String, bool) {
    let policy = answer.header("ratelimit").split(';').next();
    (policy.unwrap_or_default().to_owned(), answer.status == 403)
}

#[test]
fn no_spelling_of_a_path_allows_more_than_the_path() {
    let folder = Folder::new();
    let file = folder.text_of("keys.json");
    let made = Command::new(env!("CARGO_BIN_EXE_sandpiper-ingress"))
        .args([
            "key",
            "new",
            "--name",
            "reader",
            "--scopes",
            "read",
            "--keys-file",
        ])
        .arg(&file)
        .output()
        .unwrap();
    let key = String::from_utf8(made.stdout).unwrap();
    let service = service(&["--port", "0"]);
    let options = [&["--keys-file", file.as_str()][..], &QUOTAS].concat();
    let ingress = ingress(service.port, &options);
    let mut prober = Prober {
        program: &ingress,
        connection: ingress.connect(),
        key: format!("x-api-key: {}", key.trim()),
    };
    let mut passed = 0;
    for path in routes(&ingress) {
        let plain = METHODS.map(|method| decision(&prober.ask(method, &path)));
        for disguise in disguises(&path) {
            let read = prober.ask("GET", &disguise);
            // Below /api for no reader.
            let is_page = read.status == 404 && read.message.has("content-security-policy");
            let is_other_case = disguise.eq_ignore_ascii_case(&path);
            for (method, plain) in METHODS.iter().zip(&plain) {
                let answer = prober.ask(method, &disguise);
                let changes = !matches!(*method, "GET" | "HEAD");
                assert!(
                    !(changes && answer.status < 400),
                    "{method} {disguise}: {}",
                    answer.status
                );
                if answer.status == 400 || is_page {
                    continue;
                }
                passed += 1;
                // Routes are case-sensitive.
                assert!(
                    decision(&answer) == *plain || (is_other_case && answer.status >= 400),
                    "{method} {disguise}: {:?}, plain {plain:?}",
                    decision(&answer)
                );
            }
        }
    }
    assert!(passed > 50, "only {passed} were not refused as such");
}

#[test]
fn no_spelling_of_a_path_evades_the_quota_of_running_code() {
    let service = service(&["--port", "0"]);
    let options = [&QUOTAS[..4], &["--run-quota", "3/h:3"]].concat();
    let ingress = ingress(service.port, &options);
    let mut prober = Prober {
        program: &ingress,
        connection: ingress.connect(),
        key: String::new(),
    };
    let mut ran = 0;
    for path in ["/api/execute", "/api/jobs"] {
        for disguise in [path.to_owned()]
            .into_iter()
            .chain(disguises(path))
            .chain([path.to_owned()])
        {
            ran += usize::from(prober.ask("POST", &disguise).status < 400);
        }
    }
    assert_eq!(ran, 3);
}

#[test]
fn the_service_rejects_the_paths_that_the_ingress_rejects() {
    let service = service(&["--port", "0"]);
    let mut connection = service.connect();
    for path in routes(&service) {
        for disguise in disguises(&path) {
            connection.request("GET", &disguise, &[], "");
            let answer = connection.answer();
            assert!(
                answer.status >= 400 || disguise.starts_with("http://"),
                "{disguise}: {}",
                answer.status
            );
            if ends_its_connection(&answer) {
                connection = service.connect();
            }
        }
    }
}

//! Clients that are generated from the description of the API, as the ingress forwards it, work through the ingress.

use super::support::{Folder, Running, free_port, ingress, service};
use serde_json::{Value, json};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The project's folder.
const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A service, an ingress that requires keys, a key, and a folder for generated files.
struct Scene {
    folder: PathBuf,
    ingress: Running,
    key: String,
    _service: Running,
    _secrets: Folder,
}

impl Scene {
    fn new(name: &str) -> Self {
        let folder = Path::new(PROJECT).join("target/clients").join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let secrets = Folder::new();
        let (keys_file, sources) = (secrets.text_of("keys.json"), secrets.text_of("sources"));
        std::fs::create_dir(&sources).unwrap();
        let key = new_key(&keys_file, "execute,jobs,read");
        let service = service(&["--sources-dir", &sources]);
        let ingress = ingress(service.port, &["--keys-file", &keys_file]);
        Self {
            folder: folder.canonicalize().unwrap(),
            ingress,
            key,
            _service: service,
            _secrets: secrets,
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ingress.port)
    }

    fn description(&self) -> String {
        format!("{}/api/openapi.json", self.url())
    }

    /// Returns the lines that docs/api.md shows in this language, for this ingress and this key.
    fn documented(&self, language: &str) -> String {
        let document = std::fs::read_to_string(format!("{PROJECT}/docs/api.md")).unwrap();
        let (_, section) = document.split_once("\n## Generated clients\n").unwrap();
        let (_, block) = section.split_once(&format!("```{language}\n")).unwrap();
        let lines = block.split("```").next().unwrap();
        lines
            .replace("http://localhost:8080", &self.url())
            .replace("sp_…", &self.key)
    }
}

fn new_key(keys_file: &str, scopes: &str) -> String {
    let mut ingress = Command::new(env!("CARGO_BIN_EXE_sandpiper-ingress"));
    ingress.args(["key", "new", "--name", "a test", "--keys-file", keys_file]);
    let key = run(ingress.args(["--scopes", scopes]));
    key.trim().to_owned()
}

/// Runs a command, which must succeed, and returns its standard output.
fn run(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stdout).into_owned();
    let errors = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}\n{said}{errors}");
    said
}

/// Returns a program that `make tools-test` installs.
fn tool(path: &str) -> Command {
    let program = Path::new(PROJECT).join(path);
    assert!(program.exists(), "`make tools-test` installs {path}");
    Command::new(program)
}

/// Returns whether the tools of this language run on this machine. Says so where they do not.
fn can_test(program: &str, least: [u32; 2]) -> bool {
    let version = run(Command::new(program).arg("--version"));
    let numbers = version.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    let numbers = numbers.split('.').map_while(|number| number.parse().ok());
    let is_new = numbers.collect::<Vec<u32>>().as_slice() >= least.as_slice();
    if !is_new {
        let [major, minor] = least;
        // The test runner would capture a `println!`.
        let line = format!(
            "\nNOT TESTED: generated clients with {program} older than {major}.{minor}: {version}"
        );
        io::stdout().write_all(line.as_bytes()).unwrap();
    }
    is_new
}

fn has_node() -> bool {
    can_test("node", [20, 19])
}

#[test]
fn the_description_passes_redocly_without_a_warning() {
    if !has_node() {
        return;
    }
    let scene = Scene::new("redocly");
    let file = scene.folder.join("openapi.json");
    std::fs::write(&file, scene.ingress.get("/api/openapi.json").message.body).unwrap();
    let mut redocly = tool("tests/openapi/node_modules/.bin/redocly");
    redocly
        .args(["lint", "--extends", "recommended", "--format", "json"])
        .arg(file)
        .env("REDOCLY_TELEMETRY", "off")
        .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true");
    let report: Value = serde_json::from_str(&run(&mut redocly)).unwrap();
    let totals = &report["totals"];
    assert_eq!(
        (&totals["errors"], &totals["warnings"]),
        (&0.into(), &0.into()),
        "{report:#}"
    );
}

#[test]
fn a_generated_python_client_runs_scripts_and_jobs() {
    if !can_test("python3", [3, 11]) {
        return;
    }
    let scene = Scene::new("python");
    run(tool("target/openapi/bin/openapi-python-client")
        .args(["generate", "--fail-on-warning", "--meta", "none"])
        .args(["--output-path", "sandpiper", "--url", &scene.description()])
        .current_dir(&scene.folder)
        // The generator formats with `ruff`, which is installed beside it.
        .env(
            "PATH",
            format!("{PROJECT}/target/openapi/bin:/usr/bin:/bin"),
        ));
    let python = |script: &Path| {
        run(tool("target/openapi/bin/python")
            .arg(script)
            .args([scene.url(), scene.key.clone()])
            .env("PYTHONPATH", &scene.folder))
    };
    python(&Path::new(PROJECT).join("tests/openapi/calls.py"));
    let documented = scene.folder.join("documented.py");
    std::fs::write(&documented, scene.documented("python")).unwrap();
    assert_eq!(python(&documented), "succeeded 42\n");
}

#[test]
fn a_generated_typescript_client_runs_scripts_and_jobs() {
    if !has_node() {
        return;
    }
    let scene = Scene::new("typescript");
    run(tool("tests/openapi/node_modules/.bin/openapi-ts")
        .args([
            "-i",
            &scene.description(),
            "-o",
            "sandpiper",
            "--no-log-file",
        ])
        .current_dir(&scene.folder));
    std::fs::copy(
        format!("{PROJECT}/tests/openapi/calls.ts"),
        scene.folder.join("calls.ts"),
    )
    .unwrap();
    std::fs::write(scene.folder.join("documented.mts"), scene.documented("ts")).unwrap();
    run(tool("tests/openapi/node_modules/.bin/tsc")
        .args(["--strict", "--target", "es2022", "--module", "nodenext"])
        .args(["--outDir", "built", "calls.ts", "documented.mts"])
        .current_dir(&scene.folder));
    let node = |script: &str| {
        run(Command::new("node")
            .arg(scene.folder.join("built").join(script))
            .args([scene.url(), scene.key.clone()]))
    };
    node("calls.js");
    assert_eq!(node("documented.mjs"), "succeeded 42\n");
}

/// Returns the codes that an operation lists for a status.
fn codes(operation: &Value, status: u16) -> &[Value] {
    let content = &operation["responses"][status.to_string()]["content"];
    let schema = &content["application/problem+json"]["schema"];
    let codes = schema["properties"]["code"]["x-extensible-enum"].as_array();
    codes.map(Vec::as_slice).unwrap_or_default()
}

/// Returns the requirement that an operation names: no key, or a key with one of the scopes, in either header.
fn security(scopes: Option<&Vec<Value>>) -> Value {
    let mut all = vec![json!({})];
    for scheme in ["apiKey", "apiKeyHeader"] {
        match scopes.map(Vec::as_slice) {
            // The requirement of the description as a whole holds.
            None => return Value::Null,
            Some([]) => all.push(json!({ scheme: [] })),
            Some(scopes) => all.extend(scopes.iter().map(|scope| json!({ scheme: [scope] }))),
        }
    }
    all.into()
}

const SCOPES: [&str; 4] = ["execute", "jobs", "read", "admin"];

#[test]
fn each_operation_lists_the_error_responses_of_the_ingress() {
    let secrets = Folder::new();
    let keys_file = secrets.text_of("keys.json");
    let keys = SCOPES.map(|scope| (scope, new_key(&keys_file, scope)));
    let service = service(&[]);
    let keyed = ingress(service.port, &["--keys-file", &keys_file]);
    let open = ingress(service.port, &["--open"]);
    let alone = ingress(free_port(), &[]);
    let once = ["--run-quota", "1/h:1", "--read-quota", "1/h:1"];
    let limited = ingress(service.port, &once);
    let description = keyed.get("/api/openapi.json").json();
    for (path, methods) in description["paths"].as_object().unwrap() {
        let target = path
            .replace("{id}", "01890a5d-ac96-774b-bcce-b302099a8057")
            .replace("{name}", "pi.js")
            .replace("{tenant}", "acme");
        for (method, operation) in methods.as_object().unwrap() {
            let send = |ingress: &Running, key: &str| {
                let authorization = format!("authorization: Bearer {key}");
                let mut headers = vec!["content-type: application/json"];
                headers.extend((!key.is_empty()).then_some(authorization.as_str()));
                let body = if method == "post" { "{}" } else { "" };
                let answer = ingress.send(&method.to_uppercase(), &target, &headers, body);
                let code = (answer.status >= 400).then(|| answer.code());
                let said = format!("{method} {path}: {} {code:?}", answer.status);
                if let Some(code) = &code {
                    let listed = codes(operation, answer.status);
                    assert!(listed.contains(&json!(code)), "{said}");
                }
                (answer, code.unwrap_or_default(), said)
            };
            let scopes = operation["x-key-scopes"].as_array();
            let (answer, _, said) = send(&keyed, "");
            assert_eq!(answer.status == 401, scopes.is_some(), "{said}");
            assert_eq!(send(&keyed, "sp_unknown").1, "unauthorized");
            for (scope, key) in &keys {
                let (_, code, said) = send(&keyed, key);
                let is_listed = scopes.is_none_or(|listed| {
                    let permits = |listed: &str| {
                        // The scope `admin` includes `read`.
                        listed == *scope || (*scope, listed) == ("admin", "read")
                    };
                    let mut listed = listed.iter().filter_map(Value::as_str);
                    listed.clone().next().is_none() || listed.any(permits)
                });
                assert_eq!(code == "forbidden", !is_listed, "{said} with `{scope}`");
            }
            assert_eq!(operation["security"], security(scopes), "{said}");
            let is_not_listed = codes(operation, 403).contains(&json!("not_listed"));
            let (_, code, said) = send(&open, "");
            assert_eq!(code == "not_listed", is_not_listed, "{said}");
            assert_eq!(send(&alone, "").1, "service_unreachable");
            send(&limited, "");
            let (answer, code, _) = send(&limited, "");
            assert_eq!(code, "rate_limited");
            let headers = operation["responses"]["429"]["headers"].as_object();
            for name in headers.unwrap().keys() {
                assert!(answer.message.has(name), "{path}: {name}");
            }
        }
    }
}

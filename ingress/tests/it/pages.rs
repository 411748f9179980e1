//! The web page: built files are served unchanged, with strict security headers.

use super::support::{Folder, OK, Scripted, ingress};

fn page() -> Folder {
    let folder = Folder::new();
    folder.write("dist/index.html", "<!doctype html><title>built</title>");
    folder.write("dist/assets/app-1a2b.js", "export const built = true;");
    folder.write("dist/assets/app-1a2b.js.br", "compressed by the build");
    folder.write("dist/.hidden", "not to be seen");
    folder.write("secret", "outside");
    folder
}

#[test]
fn built_files_are_served_with_validators_and_cache_control() {
    let (service, folder) = (Scripted::answering(OK), page());
    let ingress = ingress(service.port, &["--pages-dir", &folder.text_of("dist")]);
    let index = ingress.get("/");
    assert_eq!(index.message.text(), "<!doctype html><title>built</title>");
    assert_eq!(index.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(index.header("cache-control"), "no-cache");
    let tag = format!("if-none-match: {}", index.header("etag"));
    assert_eq!(ingress.send("GET", "/", &[&tag], "").status, 304);
    let asset = ingress.get("/assets/app-1a2b.js");
    assert_eq!(asset.message.text(), "export const built = true;");
    assert!(asset.header("content-type").starts_with("text/javascript"));
    assert_eq!(
        asset.header("cache-control"),
        "public, max-age=31536000, immutable"
    );
    let compressed = ingress.send(
        "GET",
        "/assets/app-1a2b.js",
        &["accept-encoding: gzip, br"],
        "",
    );
    assert_eq!(compressed.message.text(), "compressed by the build");
    assert_eq!(compressed.header("content-encoding"), "br");
    assert!(
        compressed
            .header("content-type")
            .starts_with("text/javascript")
    );
    assert_eq!(
        compressed.header("vary").to_ascii_lowercase(),
        "accept-encoding"
    );
    assert_eq!(service.requests(), 0);
}

#[test]
fn a_page_may_load_nothing_from_elsewhere_and_not_be_framed() {
    let (service, folder) = (Scripted::answering(OK), page());
    let built = ingress(service.port, &["--pages-dir", &folder.text_of("dist")]);
    let plain = ingress(service.port, &[]);
    for answer in [built.get("/"), plain.get("/"), built.get("/nothing")] {
        let policy = answer.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{part}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

#[test]
fn nothing_outside_the_folder_is_served() {
    let (service, folder) = (Scripted::answering(OK), page());
    let ingress = ingress(service.port, &["--pages-dir", &folder.text_of("dist")]);
    for target in [
        "/../secret",
        "/%2e%2e/secret",
        "/assets/../../secret",
        "/..%2fsecret",
        "/assets/..%5c..%5csecret",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/.hidden",
        "/assets/",
        "/assets",
        "/index.html%00",
    ] {
        let answer = ingress.get(target);
        assert!(matches!(answer.status, 400 | 404), "{target}: {answer:?}");
        assert!(!answer.message.text().contains("outside"), "{target}");
    }
}

#[test]
fn pages_are_only_read() {
    let (service, folder) = (Scripted::answering(OK), page());
    let ingress = ingress(service.port, &["--pages-dir", &folder.text_of("dist")]);
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let answer = ingress.send(method, "/", &[], "x");
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (405, "method_not_allowed"),
            "{method}"
        );
        assert_eq!(answer.header("allow"), "GET, HEAD");
    }
    let head = ingress.send("HEAD", "/", &[], "");
    assert_eq!((head.status, head.header("content-length")), (200, "35"));
}

#[test]
fn a_plain_page_is_served_where_none_is_built() {
    let service = Scripted::answering(OK);
    let ingress = ingress(service.port, &[]);
    let page = ingress.get("/");
    assert!(page.message.text().contains("<h1>Sandpiper</h1>"));
    assert_eq!(
        ingress.get("/plain.css").header("content-type"),
        "text/css; charset=utf-8"
    );
    let answer = ingress.get("/nothing");
    assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"));
}

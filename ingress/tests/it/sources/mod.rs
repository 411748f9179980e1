//! Remote scripts, which a request only references.

mod buckets;
mod hosts;
mod https;

use super::support::{Answer, Folder, Running, ingress_with, service};
use hosts::{Host, NameServer, write_authority};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// A service and an ingress that share a folder.
struct Pair {
    folder: Folder,
    service: Running,
    ingress: Running,
}

impl Pair {
    /// Starts both with an allow-list and additional options.
    fn allowing(places: &[String], options: &[&str]) -> Self {
        Self::with_environment(places, options, &[])
    }

    /// Starts both, the ingress with additional environment variables of the clouds' tools.
    fn with_environment(places: &[String], options: &[&str], variables: &[(&str, String)]) -> Self {
        let folder = Folder::new();
        let sources = folder.text_of("sources");
        let authority = folder.text_of("authority.pem");
        std::fs::create_dir(&sources).unwrap();
        write_authority(&folder.path("authority.pem"));
        let service = service(&["--port", "0", "--sources-dir", &sources]);
        let places = places.join(",");
        let mut all = vec!["--source-allow", &places, "--sources-dir", &sources];
        all.extend(["--source-ca-file", &authority]);
        all.extend(options);
        let ingress = ingress_with(service.port, &all, variables);
        Self {
            folder,
            service,
            ingress,
        }
    }

    /// Starts both for one host with the name `scripts.example`.
    fn before(host: &Host, options: &[&str]) -> Self {
        let address = host.address.ip().to_string().parse::<Ipv4Addr>().unwrap();
        let names = NameServer::start(move |_, _| vec![address]);
        let nameserver = names.address.to_string();
        let mut all = vec!["--source-nameserver", &nameserver];
        all.extend(["--source-networks", "127.0.0.2/32"]);
        all.extend(options);
        Self::allowing(&[host.url("scripts.example", "")], &all)
    }

    fn execute(&self, source: impl Into<Value>) -> Answer {
        self.post("/api/execute", &json!({ "source": source.into() }))
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, &[], body)
    }

    fn post_with(&self, path: &str, headers: &[&str], body: &Value) -> Answer {
        let mut all = vec!["content-type: application/json"];
        all.extend(headers);
        self.ingress.send("POST", path, &all, &body.to_string())
    }

    /// Runs a script, which must succeed. Returns its result.
    fn result(&self, source: impl Into<Value>) -> Value {
        let answer = self.execute(source);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["result"].clone()
    }

    /// Runs a script, which must be rejected like this, with the field named. Returns the detail.
    fn refused(&self, source: impl Into<Value>, status: u16, code: &str) -> String {
        let answer = self.execute(source);
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
        let problem = answer.json();
        assert_eq!(problem["field"], "source");
        problem["detail"].as_str().unwrap().to_owned()
    }

    /// Returns the files in the shared folder.
    fn shared(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path("sources")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

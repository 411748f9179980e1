//! `/metrics`: what an operator watches.

use crate::stores::{Store, over_every_store};
use crate::support::Service;
use serde_json::json;

over_every_store!(what_happens_is_counted);

impl Service {
    /// The value of one series, by its name with its labels.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.text);
        let line = answer.text.lines().find_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            (name == format!("sandpiper_{series}")).then(|| value.to_owned())
        });
        line.map(|value| value.parse().unwrap())
    }
}

fn what_happens_is_counted(store: &Store) {
    let service = store.serve(&["--executors", "2"]);
    assert_eq!(
        service.metric("executions_total{outcome=\"succeeded\"}"),
        Some(0.0)
    );
    service.result("1");
    service.run("throw 1");
    for _ in 0..3 {
        let id = service.submit(&json!({ "code": "2" }));
        service.finished(&id);
    }
    assert_eq!(
        service.metric("executions_total{outcome=\"succeeded\"}"),
        Some(4.0)
    );
    assert_eq!(
        service.metric("executions_total{outcome=\"threw\"}"),
        Some(1.0)
    );
    for (series, value) in [
        ("executors{state=\"all\"}", 2.0),
        ("queue_jobs{lane=\"background\"}", 0.0),
        ("jobs_lost_total", 0.0),
        ("jobs_rescued_total", 0.0),
        ("finishes_stale_total", 0.0),
        ("store_up", 1.0),
        ("nodes", 1.0),
        ("oldest_queued_age_seconds", 0.0),
    ] {
        assert_eq!(service.metric(series), Some(value), "{series}");
    }
}

#[test]
fn every_family_says_what_it_is_once() {
    let service = Service::start();
    let answer = service.get("/metrics");
    assert!(
        answer
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    let names = |kind: &str| {
        let prefix = format!("# {kind} ");
        let lines = answer
            .text
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix));
        lines
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let (helps, types) = (names("HELP"), names("TYPE"));
    assert_eq!(helps, types);
    assert!(helps.len() > 10);
    assert!(helps.iter().all(|name| name.starts_with("sandpiper_")));
    let mut once = helps.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), helps.len());
    assert!(answer.text.ends_with("# EOF\n"));
}

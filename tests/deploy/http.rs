//! An HTTP client of a deployment.

use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};
use ureq::Agent;

/// Longer than any request here may take, so that a hang is a failure.
const WITHIN: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct Client {
    agent: Agent,
    url: String,
    key: Option<String>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text))
    }
}

impl Client {
    /// Returns a client of the deployment that is published on this port.
    pub(crate) fn of_port(port: u16) -> Self {
        Self::of(&format!("http://127.0.0.1:{port}"))
    }

    pub(crate) fn of(url: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(WITHIN))
            .build();
        Self {
            agent: config.into(),
            url: url.to_owned(),
            key: None,
        }
    }

    pub(crate) fn with_key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// Sends a GET. Returns `None` if nothing responds.
    pub(crate) fn try_get(&self, path: &str) -> Option<Answer> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key);
        }
        read(request.call())
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.try_get(path).expect("an answer")
    }

    /// Sends a POST. Returns `None` if nothing responds.
    pub(crate) fn try_post(&self, path: &str, body: &Value) -> Option<Answer> {
        let request = self.agent.post(format!("{}{path}", self.url));
        let mut request = request.header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key);
        }
        read(request.send(body.to_string()))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.try_post(path, body).expect("an answer")
    }

    /// Runs `code`, which must succeed.
    pub(crate) fn result(&self, code: &str) -> Value {
        let answer = self.post("/api/execute", &json!({"code": code}));
        assert_eq!(answer.status, 200, "{}", answer.text);
        let execution = answer.json();
        assert_eq!(execution["outcome"], "succeeded", "{execution}");
        execution["result"].clone()
    }

    /// Submits a job that must be accepted, and returns its id.
    pub(crate) fn submit(&self, code: &str) -> String {
        let answer = self.post("/api/jobs", &json!({"code": code}));
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Waits until each of these jobs has succeeded.
    pub(crate) fn assert_all_finish(&self, ids: &[String], within: Duration) {
        let deadline = Instant::now() + within;
        for id in ids {
            loop {
                let answer = self.try_get(&format!("/api/jobs/{id}"));
                let seen = answer.as_ref().map(|answer| answer.text.clone());
                let job = answer
                    .filter(|answer| answer.status == 200)
                    .map(|answer| answer.json());
                let state = job.as_ref().and_then(|job| job["state"].as_str());
                match state {
                    Some("finished") => {
                        let job = job.unwrap();
                        assert_eq!(job["execution"]["outcome"], "succeeded", "{job}");
                        break;
                    }
                    Some("queued" | "running") | None => {}
                    Some(_) => panic!("{}", job.unwrap()),
                }
                assert!(Instant::now() < deadline, "{id} did not end: {seen:?}");
                thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// Waits until the deployment responds as it should.
    pub(crate) fn wait_for_an_answer(&self, within: Duration) {
        let deadline = Instant::now() + within;
        while !self.answers() {
            assert!(Instant::now() < deadline, "no answer within {within:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn answers(&self) -> bool {
        let answer = self.try_post("/api/execute", &json!({"code": "1 + 2"}));
        answer.is_some_and(|answer| answer.status == 200 && answer.json()["result"] == 3)
    }
}

fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Option<Answer> {
    let mut answer = answer.ok()?;
    Some(Answer {
        status: answer.status().as_u16(),
        text: answer.body_mut().read_to_string().ok()?,
    })
}

pub(crate) fn eventually(within: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

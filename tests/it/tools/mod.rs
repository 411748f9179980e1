//! Executions with the caller's tools: over `POST /api/execute` with a sealed state between rounds, and as jobs, whose state
//! lies in the store.

mod answers;
mod bad_input;
mod ends;
mod job_answers;
mod job_ends;
mod job_events;
mod job_nodes;
mod jobs;
mod nodes;
mod replays;
mod rounds;

use crate::support::{Answer, PATIENT_MS, Service, assert_refused};
use serde_json::{Value, json};

/// An execution with tools, and the caller who answers its calls.
pub(crate) struct Conversation<'a> {
    service: &'a Service,
    request: Value,
    /// The last response.
    pub(crate) now: Value,
    /// The number of requests so far.
    pub(crate) requests: usize,
}

/// Returns a request to run `code` with these tools.
pub(crate) fn request(code: &str, tools: &[&str]) -> Value {
    json!({ "code": code, "tools": tools, "limits": { "timeoutMs": PATIENT_MS } })
}

impl<'a> Conversation<'a> {
    pub(crate) fn begin(service: &'a Service, request: Value) -> Self {
        let now = service.execute(&request);
        Self {
            service,
            request,
            now,
            requests: 1,
        }
    }

    pub(crate) fn waits(&self) -> bool {
        self.now["status"] == "waiting"
    }

    pub(crate) fn calls(&self) -> &[Value] {
        self.now["calls"].as_array().unwrap()
    }

    /// Returns the request that continues the execution with these answers.
    pub(crate) fn next_request(&self, answers: &Value) -> Value {
        let mut request = self.request.clone();
        request["replay"] = self.now["replay"].clone();
        request["answers"] = answers.clone();
        request
    }

    pub(crate) fn send(&self, answers: &Value) -> Answer {
        let next = self.next_request(answers);
        self.service.post("/api/execute", &next)
    }

    /// Goes on with these answers.
    pub(crate) fn go_on(&mut self, answers: &Value) {
        let answer = self.send(answers);
        assert_eq!(answer.status, 200, "{}", answer.text);
        self.now = answer.json();
        self.requests += 1;
    }

    /// Answers every call that waits with what `answer` returns: `{"result": …}` or `{"error": …}`.
    pub(crate) fn answer_with(&mut self, answer: impl Fn(&str, &Value) -> Value) {
        let answers = self.calls().iter().map(|call| {
            let mut answer = answer(call["name"].as_str().unwrap(), &call["argument"]);
            answer["callId"] = call["callId"].clone();
            answer
        });
        let answers = answers.collect();
        self.go_on(&answers);
    }

    /// Answers all calls until the execution has ended, and returns the last response.
    pub(crate) fn finish(mut self, answer: impl Fn(&str, &Value) -> Value) -> Value {
        while self.waits() {
            assert!(self.requests < 200, "it waits for ever: {}", self.now);
            self.answer_with(&answer);
        }
        self.now
    }
}

/// Answers with the argument.
pub(crate) fn echo(_: &str, argument: &Value) -> Value {
    json!({ "result": argument })
}

/// Checks that a continuation is refused and that nothing was taken: the same execution goes on afterwards.
pub(crate) fn assert_continuation_refused(
    conversation: &Conversation<'_>,
    answers: &Value,
    status: u16,
    code: &str,
) {
    let answer = conversation.send(answers);
    assert_refused(&answer, status, code, &answers.to_string());
}

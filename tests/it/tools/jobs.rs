//! Jobs with tools: they wait in the store, and go on with each answer.

use super::{Conversation, echo, request};
use crate::stores::{Store, over_every_store};
use crate::support::{Answer, SOON, Service, assert_refused, eventually};
use serde_json::{Value, json};
use std::thread;

over_every_store!(
    a_job_waits_for_its_calls_and_goes_on_with_their_answers,
    answers_in_any_order_give_the_result_of_an_execute,
    a_timer_lets_a_job_go_on_by_itself,
    a_job_that_waits_holds_no_executor_and_is_listed_as_waiting,
    a_repeated_submit_is_the_job_that_waits,
    many_jobs_wake_in_the_same_second,
);

/// Time that a request waits for the end of a round.
const WAIT: (&str, &str) = ("prefer", "wait=30");

/// A job with tools.
pub(super) struct ToolJob<'a> {
    pub(super) service: &'a Service,
    pub(super) id: String,
    /// The last response.
    pub(super) now: Value,
}

impl<'a> ToolJob<'a> {
    /// Submits a job, and waits until it has ended or waits for its reader.
    pub(super) fn begin(service: &'a Service, request: &Value) -> Self {
        let answer = service.post_with("/api/jobs", &[WAIT], request);
        assert_eq!(answer.status, 200, "{}", answer.text);
        let now = answer.json();
        let id = now["id"].as_str().unwrap().to_owned();
        Self { service, id, now }
    }

    /// Opens a job that waits, at any node.
    pub(super) fn at(service: &'a Service, id: &str) -> Self {
        let id = id.to_owned();
        let now = Value::Null;
        let mut job = Self { service, id, now };
        job.look();
        job
    }

    pub(super) fn path(&self) -> String {
        format!("/api/jobs/{}", self.id)
    }

    /// Waits until the job has ended or waits for its reader.
    pub(super) fn look(&mut self) {
        let answer = self.service.get_with(&self.path(), &[WAIT]);
        assert_eq!(answer.status, 200, "{}", answer.text);
        self.now = answer.json();
    }

    pub(super) fn calls(&self) -> &[Value] {
        self.now["calls"]
            .as_array()
            .unwrap_or_else(|| panic!("{}", self.now))
    }

    pub(super) fn call_id(&self, index: usize) -> Value {
        self.calls()[index]["callId"].clone()
    }

    pub(super) fn send(&self, answers: &Value, headers: &[(&str, &str)]) -> Answer {
        let body = json!({ "answers": answers });
        let path = format!("{}/answers", self.path());
        self.service.post_with(&path, headers, &body)
    }

    /// Sends answers, and waits until the job has ended or waits for its reader.
    pub(super) fn go_on(&mut self, answers: &Value) {
        let answer = self.send(answers, &[WAIT]);
        assert_eq!(answer.status, 200, "{}", answer.text);
        self.now = answer.json();
    }

    /// Answers all calls until the job has ended, and returns the job.
    pub(super) fn finish(mut self, answer: impl Fn(&str, &Value) -> Value) -> Value {
        for _ in 0..300 {
            if !self.now["finishedAt"].is_null() {
                return self.now;
            }
            let answers: Vec<Value> = (self.calls().iter())
                .map(|call| {
                    let mut answer = answer(call["name"].as_str().unwrap(), &call["argument"]);
                    answer["callId"] = call["callId"].clone();
                    answer
                })
                .collect();
            if answers.is_empty() {
                self.look();
            } else {
                self.go_on(&Value::from(answers));
            }
        }
        panic!("it waits for ever: {}", self.now)
    }
}

fn a_job_waits_for_its_calls_and_goes_on_with_their_answers(store: &Store) {
    let service = store.serve(&[]);
    let code = "console.log('before'); const order = await tools.getOrder({ id: 7 }); \
        console.log('after'); order.total * 2";
    let mut job = ToolJob::begin(&service, &request(code, &["getOrder"]));
    let first = job.now.clone();
    assert_eq!(first["state"], "waiting", "{first}");
    assert_eq!(first["waitingFor"], json!(["calls"]));
    assert_eq!(first["resumeAt"], Value::Null);
    assert_eq!(first["log"][0]["data"], json!(["before"]));
    assert!(first.get("execution").is_none() && first.get("replay").is_none());
    let call = &first["calls"][0];
    assert_eq!(call["name"], "getOrder");
    assert_eq!(call["argument"], json!({ "id": 7 }));
    assert_eq!(call["state"], "waiting");
    job.go_on(&json!([{ "callId": call["callId"], "result": { "total": 21 } }]));
    let last = &job.now;
    assert_eq!(last["state"], "finished", "{last}");
    assert!(last.get("calls").is_none() && last.get("waitingFor").is_none());
    let execution = &last["execution"];
    assert_eq!(execution["status"], "success", "{last}");
    assert_eq!(execution["result"], 42);
    let logged: Vec<&Value> = (execution["log"].as_array().unwrap().iter())
        .map(|entry| &entry["data"][0])
        .collect();
    assert_eq!(logged, ["before", "after"]);
    assert_eq!(execution["usage"]["rounds"], 2);
    assert_eq!(execution["limits"]["logBytes"], 8 << 20);
    let done = &execution["calls"][0];
    assert_eq!(done["callId"], call["callId"]);
    assert_eq!(
        (&done["state"], &done["resultBytes"]),
        (&json!("done"), &json!(12))
    );
    for absent in ["attestedBy", "logFrom", "replay"] {
        assert!(execution.get(absent).is_none(), "{absent}: {execution}");
    }
}

/// A script whose calls depend on the answers before them.
const BRANCHING: &str = "
    const told = [];
    const branch = async (n) => {
        let value = n;
        for (let step = 0; step < 3; step++) {
            console.log(n, step);
            try { value = await tools.step({ n, step, value }); told.push([n, step, value]) }
            catch (error) { told.push([n, error.name, error.code]) }
        }
        return value;
    };
    const ends = await Promise.all([1, 2, 3, 4].map(branch));
    [ends, told.map(String).sort(), Math.random()]";

fn step(_: &str, argument: &Value) -> Value {
    let [n, step, value] = ["n", "step", "value"].map(|name| argument[name].as_i64().unwrap());
    match (n + step) % 5 {
        0 => json!({ "error": { "message": "no", "code": "five" } }),
        _ => json!({ "result": value * 10 + n }),
    }
}

fn answers_in_any_order_give_the_result_of_an_execute(store: &Store) {
    let service = store.serve(&[]);
    let mut request = request(BRANCHING, &["step"]);
    request["seed"] = json!(7);
    let execute = Conversation::begin(&service, request.clone()).finish(step);
    assert_eq!(execute["status"], "success", "{execute}");
    let mut random = 88_172_645_463_325_252_u64;
    for _ in 0..4 {
        let mut job = ToolJob::begin(&service, &request);
        while job.now["state"] == "waiting" {
            // Some of the calls that wait, in an order of chance.
            let mut answers = Vec::new();
            for call in job.calls() {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let mut answer = step("step", &call["argument"]);
                answer["callId"] = call["callId"].clone();
                match random % 3 {
                    0 => answers.push(answer),
                    1 => answers.insert(0, answer),
                    _ if answers.is_empty() => answers.push(answer),
                    _ => {}
                }
            }
            job.go_on(&Value::from(answers));
        }
        let execution = &job.now["execution"];
        assert_eq!(execution["status"], "success", "{}", job.now);
        assert_eq!(execution["result"], execute["result"]);
        assert_eq!(execution["log"].as_array().unwrap().len(), 12);
        let calls = |of: &Value| of["calls"].as_array().unwrap().len();
        assert_eq!(calls(execution), calls(&execute));
    }
}

fn a_timer_lets_a_job_go_on_by_itself(store: &Store) {
    let service = store.serve(&[]);
    let code = "const start = Date.now(); await new Promise((go) => setTimeout(go, 1500)); Date.now() - start >= 1500";
    let id = service.submit(&request(code, &["a"]));
    let path = format!("/api/jobs/{id}");
    eventually(SOON, "the job waits for its timer", || {
        let job = service.get(&path).json();
        job["state"] == "waiting"
            && job["waitingFor"] == json!(["timer"])
            && job["resumeAt"].is_string()
    });
    let ended = service.get_with(&path, &[WAIT]).json();
    assert_eq!(ended["execution"]["result"], true, "{ended}");
    assert_eq!(ended["execution"]["usage"]["rounds"], 2);
}

fn a_job_that_waits_holds_no_executor_and_is_listed_as_waiting(store: &Store) {
    let service = store.serve(&["--executors", "1"]);
    let jobs: Vec<ToolJob<'_>> = (0..3)
        .map(|n| ToolJob::begin(&service, &request(&format!("await tools.a({n})"), &["a"])))
        .collect();
    assert_eq!(service.result("1 + 2"), 3);
    assert_eq!(service.executors_busy(), 0);
    let listed = |state: &str| {
        let page = service.get(&format!("/api/jobs?state={state}")).json();
        page["jobs"].as_array().unwrap().len()
    };
    assert_eq!(
        (listed("waiting"), listed("running"), listed("queued")),
        (3, 0, 0)
    );
    for (n, job) in jobs.into_iter().enumerate() {
        let ended = job.finish(echo);
        assert_eq!(ended["execution"]["result"], n, "{ended}");
    }
    assert_eq!((listed("waiting"), listed("finished")), (0, 3));
}

fn a_repeated_submit_is_the_job_that_waits(store: &Store) {
    let service = store.serve(&[]);
    let headers = [("idempotency-key", "order-7"), WAIT];
    let mut asked = request("await tools.a(1)", &["a"]);
    let submit = |request: &Value| service.post_with("/api/jobs", &headers, request);
    let first = submit(&asked).json();
    let again = submit(&asked);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.json()["id"], first["id"]);
    assert_eq!(again.json()["calls"], first["calls"]);
    for (field, value) in [("unawaited", json!("drop")), ("tools", json!(["b"]))] {
        let mut other = asked.clone();
        other[field] = value;
        assert_refused(&submit(&other), 422, "idempotency_key_reused", field);
    }
    asked["limits"]["callsMax"] = json!(3);
    assert_refused(&submit(&asked), 422, "idempotency_key_reused", "callsMax");
}

fn many_jobs_wake_in_the_same_second(store: &Store) {
    const JOBS: usize = 40;
    let service = store.serve(&["--executors", "2"]);
    let code = "await new Promise((go) => setTimeout(go, input - Date.now())); 'woken'";
    let due = std::time::SystemTime::now() + std::time::Duration::from_secs(4);
    let due = due
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    let ids: Vec<String> = thread::scope(|scope| {
        let submit = || {
            let mut request = request(code, &["a"]);
            request["input"] = json!(u64::try_from(due).unwrap());
            service.submit(&request)
        };
        let submits: Vec<_> = (0..JOBS).map(|_| scope.spawn(submit)).collect();
        submits
            .into_iter()
            .map(|submit| submit.join().unwrap())
            .collect()
    });
    for id in ids {
        let ended = service.finished(&id);
        assert_eq!(ended["execution"]["result"], "woken", "{ended}");
    }
}

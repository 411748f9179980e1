//! A service for every test: the real binary, on a free port, stopped with the test.

use serde_json::Value;
use std::cell::Cell;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use ureq::Agent;
use ureq::http::{HeaderMap, Response};

/// Longer than anything takes on a busy machine, so that a hang is a failure.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// A time limit that a busy machine does not reach, for scripts that must end in another way.
pub(crate) const PATIENT_MS: u64 = 30_000;
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// An execution that ends this many milliseconds after its time limit was not held to it. The grace until SIGKILL is a
/// small part of this; the rest is for a busy machine.
pub(crate) const LATE_MS: f64 = 10_000.0;

/// A running service.
pub(crate) struct Service {
    child: Child,
    /// `http://127.0.0.1:PORT`
    url: String,
    pub(crate) port: u16,
    agent: Agent,
    log: Arc<Mutex<String>>,
}

/// A response.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// Returns the body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Returns the code of a problem.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        problem["code"].as_str().unwrap().to_owned()
    }
}

impl Service {
    /// Starts a service with the defaults and two executors.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a service with additional options.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        Self::start_as(Command::new(env!("CARGO_BIN_EXE_sandpiper")), options)
    }

    /// Starts a service that adopts orphans, as process 1 of a container does.
    #[allow(unsafe_code)] // runs between fork and exec
    pub(crate) fn start_as_process_1(options: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandpiper"));
        // SAFETY: one system call, which allocates nothing.
        unsafe {
            command.pre_exec(|| Ok(nix::sys::prctl::set_child_subreaper(true)?));
        }
        Self::start_as(command, options)
    }

    /// Starts a service by another command than its own.
    pub(crate) fn start_as(mut command: Command, options: &[&str]) -> Self {
        let mut child = command
            // The environment is used, so that `options` may override these.
            .env("SANDPIPER_EXECUTORS", "2")
            .env("SANDPIPER_STORE", "memory")
            // Most tests are about which job runs in which order. Those about reserve executors enable them.
            .env("SANDPIPER_RESERVE_EXECUTORS", "0")
            .args(["serve", "--port", "0"])
            .args(options)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (port, log) = wait_for_port(log);
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_WITHIN))
            .max_idle_connections_per_host(64)
            .build()
            .new_agent();
        Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            port,
            agent,
            log,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the exit status. The service must end within this time.
    pub(crate) fn exit_within(&mut self, within: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < within, "it runs on after {within:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    pub(crate) fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.call().unwrap())
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.delete_with(path, &[])
    }

    pub(crate) fn delete_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.delete(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.call().unwrap())
    }

    /// Sends a JSON body.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, &[], body)
    }

    pub(crate) fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        self.post_raw(path, &all, body.to_string().as_bytes())
    }

    /// Sends any body.
    pub(crate) fn post_raw(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = self.agent.post(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.send(body).unwrap())
    }

    /// Sends `POST /api/execute`, which must return 200, and returns the JSON.
    pub(crate) fn execute(&self, request: &Value) -> Value {
        let answer = self.post("/api/execute", request);
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// Runs a request until its script has noticed itself that its time was up. A busy machine can leave a job process
    /// without a processor around that moment. The service then kills it, and the error has no place.
    pub(crate) fn execute_until_interrupted(&self, request: &Value) -> Value {
        const ATTEMPTS_MAX: usize = 20;
        let was_killed = |execution: &Value| {
            let message = execution["error"]["message"].as_str();
            message.is_some_and(|message| message.ends_with("and was killed"))
        };
        let mut executions = (0..ATTEMPTS_MAX).map(|_| self.execute(request));
        executions
            .find(|execution| !was_killed(execution))
            .unwrap_or_else(|| panic!("killed {ATTEMPTS_MAX} times: {request}"))
    }

    /// Runs `code` with the defaults, and with a time limit that a busy machine does not reach.
    pub(crate) fn run(&self, code: &str) -> Value {
        self.execute(&serde_json::json!({
            "code": code,
            "limits": { "timeoutMs": PATIENT_MS },
        }))
    }

    /// Runs `code`, which must succeed, and returns its result.
    pub(crate) fn result(&self, code: &str) -> Value {
        let execution = self.run(code);
        assert_eq!(execution["outcome"], "succeeded", "{code}: {execution}");
        execution["result"].clone()
    }

    /// Sends `POST /api/jobs`, which must return 202, and returns the job's id.
    pub(crate) fn submit(&self, request: &Value) -> String {
        let answer = self.post("/api/jobs", request);
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Waits until the job is final, and returns it.
    pub(crate) fn finished(&self, id: &str) -> Value {
        let answer = self.get_with(&format!("/api/jobs/{id}"), &[("prefer", "wait=30")]);
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// Returns the zygotes and job processes, as the kernel lists them.
    pub(crate) fn descendants(&self) -> Vec<u32> {
        descendants_of(self.pid())
    }

    /// Returns the number of busy executors.
    pub(crate) fn executors_busy(&self) -> u64 {
        let ready = self.get("/api/health/ready").json();
        ready["executors"]["busy"].as_u64().unwrap()
    }

    /// Sends a signal by number.
    pub(crate) fn signal(&self, number: i32) {
        signal(self.pid(), number);
    }
}

impl Drop for Service {
    /// A test that fails prints the log of the service.
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        let ended = self.child.try_wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!(
                "the service before it was killed: {ended:?}; its log:\n{}",
                self.log()
            );
        }
    }
}

/// Checks that a response is a problem of this status and code, whose detail explains the error and names no internals.
pub(crate) fn assert_refused(answer: &Answer, status: u16, code: &str, what: &str) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{what}: {}",
        answer.text
    );
    let problem = answer.json();
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        !detail.is_empty() && !detail.contains("src/"),
        "{what}: {detail}"
    );
}

/// Checks that the next request gets a response, whatever came before.
pub(crate) fn assert_serves(service: &Service) {
    assert_eq!(service.result("1+2"), 3);
}

/// Returns the descendants of a process.
pub(crate) fn descendants_of(pid: u32) -> Vec<u32> {
    let parents = parents();
    let mut found = Vec::new();
    let mut unvisited = children_among(&parents, pid);
    while let Some(pid) = unvisited.pop() {
        found.push(pid);
        unvisited.extend(children_among(&parents, pid));
    }
    found
}

/// Returns the children of a process.
pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    children_among(&parents(), pid)
}

fn children_among(parents: &[(u32, u32)], pid: u32) -> Vec<u32> {
    let children = parents.iter().filter(|(_, parent)| *parent == pid);
    children.map(|(child, _)| *child).collect()
}

/// Returns every process with its parent. The parent of each process is read, and not the children of each parent,
/// because not every kernel lists children.
fn parents() -> Vec<(u32, u32)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, stat_of(pid, 1)?.parse().ok()?))
        })
        .collect()
}

/// Returns the job process that runs the one endless loop, which is the one with the most processor time.
pub(crate) fn looping_process(service: &Service) -> u32 {
    const CPU_TICKS_MIN: u64 = 5;
    let found = Cell::new(None);
    eventually(SOON, "a job process loops", || {
        let zygotes = children_of(service.pid());
        let mut processes = service.descendants().into_iter();
        let looping = processes.find(|pid| {
            let user_ticks = stat_of(*pid, 11).and_then(|ticks| ticks.parse::<u64>().ok());
            !zygotes.contains(pid) && user_ticks.is_some_and(|ticks| ticks >= CPU_TICKS_MIN)
        });
        found.set(looping);
        looping.is_some()
    });
    found.get().unwrap()
}

/// Returns whether a process is alive. A zombie is not.
pub(crate) fn is_alive(pid: u32) -> bool {
    stat_of(pid, 0).is_some_and(|state| !matches!(state.as_str(), "Z" | "X"))
}

/// Returns whether a process waits for something.
pub(crate) fn is_asleep(pid: u32) -> bool {
    stat_of(pid, 0).is_some_and(|state| state == "S")
}

/// Returns a field of `/proc/PID/stat`, counted from the state, or `None` if there is no such process.
pub(crate) fn stat_of(pid: u32, field: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(field).map(str::to_owned)
}

/// Sends a signal to any process.
pub(crate) fn signal(pid: u32, number: i32) {
    let pid = nix::unistd::Pid::from_raw(pid.try_into().unwrap());
    let signal = nix::sys::signal::Signal::try_from(number).unwrap();
    let _ = nix::sys::signal::kill(pid, signal);
}

/// Returns a port without a listener, below those that the kernel assigns by itself, so that it stays free until it is
/// used.
pub(crate) fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports = std::iter::repeat_with(|| fastrand::u16(12_000..32_000));
    ports.find(is_free).unwrap()
}

/// Polls until the condition holds, for things that other processes do in their own time.
pub(crate) fn eventually(within: Duration, what: &str, is_so: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < within, "not within {within:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
    start.elapsed()
}

fn answer(mut response: Response<ureq::Body>) -> Answer {
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        text: response
            .body_mut()
            .with_config()
            .limit(64 << 20)
            .read_to_string()
            .unwrap(),
    }
}

/// Reads the log up to the line that names the port, and continues to drain it in a thread.
fn wait_for_port(log: BufReader<std::process::ChildStderr>) -> (u16, Arc<Mutex<String>>) {
    let (sender, receiver) = mpsc::channel();
    let seen = Arc::<Mutex<String>>::default();
    let kept = Arc::clone(&seen);
    thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            if let Some((_, address)) = line.split_once("listening on http://") {
                let address = address.split([' ', '"']).next().unwrap();
                let port = address.rsplit(':').next().unwrap().parse().unwrap();
                let _ = sender.send(Ok(port));
            }
            let mut seen = seen.lock().unwrap();
            seen.push_str(&line);
            seen.push('\n');
        }
        let _ = sender.send(Err(seen.lock().unwrap().clone()));
    });
    match receiver.recv_timeout(SOON) {
        Ok(Ok(port)) => (port, kept),
        Ok(Err(log)) => panic!("the service ended before it listened:\n{log}"),
        Err(_) => panic!(
            "the service does not listen after {SOON:?}; its log:\n{}",
            kept.lock().unwrap()
        ),
    }
}

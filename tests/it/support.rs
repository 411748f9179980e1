//! A service of one's own for every test: the real binary, on a free port, gone with the test.

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

/// Slower than anything here is on a busy machine, so that a hang is a failure and not a wait.
pub(crate) const SOON: Duration = Duration::from_secs(60);
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// An execution that ends this much after its time limit, milliseconds, was not held to it. The grace until SIGKILL is a
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

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Of a problem.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        problem["code"].as_str().unwrap().to_owned()
    }
}

impl Service {
    /// With the defaults and two executors.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With these options more.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        Self::start_as(Command::new(env!("CARGO_BIN_EXE_sandpiper")), options)
    }

    /// As process 1 of a container would be: whoever loses its parent becomes its child.
    #[allow(unsafe_code)] // runs between fork and exec
    pub(crate) fn start_as_process_1(options: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandpiper"));
        // SAFETY: one system call, which allocates nothing.
        unsafe {
            command.pre_exec(|| Ok(nix::sys::prctl::set_child_subreaper(true)?));
        }
        Self::start_as(command, options)
    }

    /// By another command than its own.
    pub(crate) fn start_as(mut command: Command, options: &[&str]) -> Self {
        let mut child = command
            // By the environment, so that `options` may say otherwise.
            .env("SANDPIPER_EXECUTORS", "2")
            .env("SANDPIPER_STORE", "memory")
            // What runs, and in which order, is what most tests are about: those about reserve executors ask for them.
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

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, which it must within this time.
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

    /// A JSON body.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, &[], body)
    }

    pub(crate) fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        self.post_raw(path, &all, body.to_string().as_bytes())
    }

    /// Any body.
    pub(crate) fn post_raw(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = self.agent.post(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.send(body).unwrap())
    }

    /// `POST /api/execute`, which must answer 200; its JSON.
    pub(crate) fn execute(&self, request: &Value) -> Value {
        let answer = self.post("/api/execute", request);
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// Runs `code` with the defaults.
    pub(crate) fn run(&self, code: &str) -> Value {
        self.execute(&serde_json::json!({ "code": code }))
    }

    /// Runs `code`, which must succeed; its result.
    pub(crate) fn result(&self, code: &str) -> Value {
        let execution = self.run(code);
        assert_eq!(execution["outcome"], "succeeded", "{code}: {execution}");
        execution["result"].clone()
    }

    /// `POST /api/jobs`, which must answer 202; the job's id.
    pub(crate) fn submit(&self, request: &Value) -> String {
        let answer = self.post("/api/jobs", request);
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// The job once it is final.
    pub(crate) fn finished(&self, id: &str) -> Value {
        let answer = self.get_with(&format!("/api/jobs/{id}"), &[("prefer", "wait=30")]);
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// Zygotes and job processes, by the kernel's word.
    pub(crate) fn descendants(&self) -> Vec<u32> {
        descendants_of(self.pid())
    }

    /// How many executors run something.
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
    /// A test that fails is told what the service had to say.
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

/// A problem of this status and code, whose detail says what is wrong and nothing of the inside.
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

/// Whatever came before, the next request is answered.
pub(crate) fn assert_serves(service: &Service) {
    assert_eq!(service.result("1+2"), 3);
}

/// Children of a process, and theirs.
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

/// Children of a process.
pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    children_among(&parents(), pid)
}

fn children_among(parents: &[(u32, u32)], pid: u32) -> Vec<u32> {
    let children = parents.iter().filter(|(_, parent)| *parent == pid);
    children.map(|(child, _)| *child).collect()
}

/// Every process with its parent. Each process is asked for its parent, and no parent for its children: not every kernel
/// says the latter.
fn parents() -> Vec<(u32, u32)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, stat_of(pid, 1)?.parse().ok()?))
        })
        .collect()
}

/// The job process that runs the one endless loop: no other has used so much of a processor.
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

/// A process that has ended but that nobody has waited for is not alive.
pub(crate) fn is_alive(pid: u32) -> bool {
    stat_of(pid, 0).is_some_and(|state| !matches!(state.as_str(), "Z" | "X"))
}

/// A field of `/proc/PID/stat`, counted from the state; `None` when there is no such process.
fn stat_of(pid: u32, field: usize) -> Option<String> {
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

/// A port on which nobody listens, below those that the kernel gives out by itself: it stays free until it is used.
pub(crate) fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports = std::iter::repeat_with(|| fastrand::u16(12_000..32_000));
    ports.find(is_free).unwrap()
}

/// Asks until it is so; for what another process does in its own time.
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

/// Reads the log up to the line that names the port, and goes on emptying it in a thread of its own.
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

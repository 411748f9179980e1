//! A long run of everything at once: benign scripts, hostile scripts, background jobs, and SIGKILL to random processes.
//!
//! `make soak` runs it for half an hour (`SOAK_MINUTES` sets another time) and prints a line per minute. The run fails
//! if a benign execution returns anything but its result, unless it was in flight when a process was killed; if a job
//! is lost; or if memory or descriptors grow.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods
)] // its own program

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const HOSTILE: &[&str] = &[
    "for (;;) { try { while (true); } catch {} }",
    "new Array(1e9) + ''",
    "const a = []; for (;;) a.push('x'.repeat(1e5) + a.length)",
    "(function f() { f() })()",
    "for (;;) console.log('x'.repeat(1000))",
    "(function f() { Promise.resolve().then(f); Promise.resolve().then(f) })()",
    "({get a() { for (;;); }})",
    "JSON.parse('['.repeat(1e6))",
    "Object.prototype.then = (f) => f(1); Array.prototype.push = null; throw {toJSON() { throw 1 }}",
    "throw null",
];
const HONEST_CLIENTS: u64 = 3;
const KILL_EVERY: Duration = Duration::from_millis(700);

/// Counts by name.
#[derive(Default)]
struct Counts(Mutex<HashMap<&'static str, u64>>);

impl Counts {
    fn add(&self, what: &'static str) {
        *self.0.lock().unwrap().entry(what).or_default() += 1;
    }

    fn of(&self, what: &str) -> u64 {
        self.0.lock().unwrap().get(what).copied().unwrap_or(0)
    }
}

struct Service {
    child: Child,
    url: String,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() {
    let minutes: f64 = std::env::var("SOAK_MINUTES").map_or(30.0, |text| text.parse().unwrap());
    let service = start();
    let (counts, over) = (Counts::default(), AtomicBool::new(false));
    let (first, last) = thread::scope(|scope| {
        let (service, counts, over) = (&service, &counts, &over);
        for client in 0..HONEST_CLIENTS {
            scope.spawn(move || {
                while_not(over, |round| {
                    honest(service, counts, client * 1_000_003 + round)
                })
            });
        }
        scope.spawn(move || while_not(over, |round| hostile(service, counts, round)));
        scope.spawn(move || while_not(over, |round| background(service, counts, round)));
        scope.spawn(move || while_not(over, |round| kill_something(service, counts, round)));
        let watched = watch(service, counts, minutes);
        over.store(true, Ordering::SeqCst);
        watched
    });
    let kills = counts.of("killed");
    assert_eq!(
        counts.of("wrong"),
        0,
        "an honest execution came to something else"
    );
    // Killing a zygote may end the execution that it has in flight, and no other.
    assert!(
        counts.of("crashed") <= kills,
        "more crashed than was killed"
    );
    assert_eq!(counts.of("job lost"), 0, "a job is lost");
    let ((rss_before, open_before), (rss_after, open_after)) = (first, last);
    assert!(
        rss_after < rss_before * 2 + 32_768,
        "memory grew from {rss_before} to {rss_after} KiB"
    );
    assert!(
        open_after <= open_before + 8,
        "descriptors grew from {open_before} to {open_after}"
    );
    println!("clean");
}

fn start() -> Service {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sandpiper"))
        .args([
            "serve",
            "--store",
            "memory",
            "--port",
            "0",
            "--executors",
            "2",
            "--result-ttl-s",
            "60",
        ])
        .args(["--log", "error,sandpiper::app=info"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let url = log
        .find_map(|line| {
            Some(
                line.split_once("listening on ")?
                    .1
                    .split(' ')
                    .next()?
                    .to_owned(),
            )
        })
        .unwrap();
    thread::spawn(move || log.for_each(drop));
    Service { child, url }
}

fn while_not(over: &AtomicBool, mut step: impl FnMut(u64)) {
    let mut round = 0;
    while !over.load(Ordering::SeqCst) {
        step(round);
        round += 1;
    }
}

fn post(service: &Service, path: &str, body: &Value) -> Option<(u16, Value)> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into();
    let answer = agent
        .post(format!("{}{path}", service.url))
        .content_type("application/json")
        .send(body.to_string());
    let mut answer = answer.ok()?;
    let text = answer.body_mut().read_to_string().ok()?;
    Some((
        answer.status().as_u16(),
        serde_json::from_str(&text).unwrap_or(Value::Null),
    ))
}

/// Returns a sum that no other execution has.
fn honest(service: &Service, counts: &Counts, number: u64) {
    let code = format!(
        "let s = {number}; for (let i = 0; i < {}; i++) s += i; s",
        number % 5_000
    );
    let request = json!({"code": code, "limits": {"timeoutMs": 10_000}});
    let steps = number % 5_000;
    let sum = number
        + if steps == 0 {
            0
        } else {
            steps * (steps - 1) / 2
        };
    match post(service, "/api/execute", &request) {
        Some((200, execution)) if execution["outcome"] == "crashed" => counts.add("crashed"),
        Some((200, execution)) if execution["result"] == sum => counts.add("honest"),
        Some((503, _)) => counts.add("refused"),
        other => {
            println!("wrong: {code} came to {other:?}");
            counts.add("wrong");
        }
    }
}

fn hostile(service: &Service, counts: &Counts, round: u64) {
    let code = HOSTILE[usize::try_from(round).unwrap() % HOSTILE.len()];
    let request = json!({"code": code, "limits": {"timeoutMs": 200}});
    match post(service, "/api/execute", &request) {
        Some((200, execution)) if execution["outcome"] == "crashed" => counts.add("crashed"),
        Some((200, execution)) if execution["outcome"] != "succeeded" => counts.add("hostile"),
        Some((503, _)) => counts.add("refused"),
        other => {
            println!("wrong: {code} came to {other:?}");
            counts.add("wrong");
        }
    }
}

fn background(service: &Service, counts: &Counts, round: u64) {
    let Some((202, job)) = post(
        service,
        "/api/jobs",
        &json!({"code": format!("{round} * 2")}),
    ) else {
        counts.add("refused");
        return;
    };
    let id = job["id"].as_str().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        let found = ureq::get(format!("{}/api/jobs/{id}", service.url)).call();
        let text = found.unwrap().body_mut().read_to_string().unwrap();
        let job: Value = serde_json::from_str(&text).unwrap();
        if job["state"] == "finished" {
            match (&job["execution"]["outcome"], &job["execution"]["result"]) {
                (outcome, _) if outcome == "crashed" => counts.add("crashed"),
                (_, result) if *result == round * 2 => counts.add("jobs"),
                _ => {
                    println!("wrong: {job}");
                    counts.add("wrong");
                }
            }
            return;
        }
        if job["state"] == "lost" {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    counts.add("job lost");
}

/// Sends SIGKILL to a process below the service: a launcher, a zygote or a job process in turn.
fn kill_something(service: &Service, counts: &Counts, round: u64) {
    thread::sleep(KILL_EVERY);
    let below = descendants(service.child.id());
    if below.is_empty() {
        return;
    }
    let victim = below[usize::try_from(round * 7919).unwrap() % below.len()];
    if kill(
        Pid::from_raw(i32::try_from(victim).unwrap()),
        Signal::SIGKILL,
    )
    .is_ok()
    {
        counts.add("killed");
    }
}

fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    for task in tasks {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children
            .split_whitespace()
            .filter_map(|child| child.parse().ok())
        {
            found.push(child);
            found.extend(descendants(child));
        }
    }
    found
}

/// Prints a line per minute: resident memory (KiB) and descriptors after the first tenth and at the end.
fn watch(service: &Service, counts: &Counts, minutes: f64) -> ((u64, usize), (u64, usize)) {
    println!(
        "{:>6} {:>9} {:>8} {:>7} {:>7} {:>8} {:>8} {:>6} {:>9} {:>5} {:>6}",
        "minute",
        "honest",
        "hostile",
        "jobs",
        "killed",
        "crashed",
        "refused",
        "wrong",
        "rss KiB",
        "open",
        "below"
    );
    let start = Instant::now();
    let all = Duration::from_secs_f64(minutes * 60.0);
    let every = Duration::from_secs(60).min(all / 10);
    let mut first = None;
    loop {
        thread::sleep(every);
        let pid = service.child.id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the service ended");
        let rss = status
            .lines()
            .find_map(|line| {
                line.strip_prefix("VmRSS:")?
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
            })
            .unwrap();
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        let count = |what| counts.of(what);
        println!(
            "{:>6.1} {:>9} {:>8} {:>7} {:>7} {:>8} {:>8} {:>6} {rss:>9} {open:>5} {:>6}",
            start.elapsed().as_secs_f64() / 60.0,
            count("honest"),
            count("hostile"),
            count("jobs"),
            count("killed"),
            count("crashed"),
            count("refused"),
            count("wrong"),
            descendants(pid).len()
        );
        let seen = (rss, open);
        let first = *first.get_or_insert(seen);
        if start.elapsed() >= all {
            return (first, seen);
        }
    }
}

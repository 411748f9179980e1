//! Promises that only show under load: nothing leaks, nothing blocks, nothing is lost beyond what was in flight.

use crate::support::{
    LATE_MS, Service, children_of, eventually, is_alive, is_asleep, looping_process, signal,
};
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::HashSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const SIGKILL: i32 = 9;
const SOON: Duration = crate::support::SOON;

fn descriptors(service: &Service) -> usize {
    fs::read_dir(format!("/proc/{}/fd", service.pid()))
        .unwrap()
        .count()
}

fn resident_mib(service: &Service) -> f64 {
    service.get("/api/health").json()["memory"]["rss"]
        .as_f64()
        .unwrap()
}

/// A script that uses no processor and logs nothing.
const SLEEPER: &str = "await new Promise((done) => setTimeout(done, 300)); 'done'";

/// Returns the job processes: processes whose parent is a zygote.
fn kill_job_processes(service: &Service) {
    let mut processes = service.descendants();
    processes.retain(|pid| children_of(*pid).is_empty());
    for pid in processes {
        signal(pid, SIGKILL);
    }
}

/// Returns a job process that waits: it sleeps at each of many looks. The processes of a sandbox that starts compute.
fn waiting_process(service: &Service) -> u32 {
    const LOOKS: usize = 100;
    let seen = Cell::new((0, 0));
    eventually(SOON, "a job process waits", || {
        let zygotes = children_of(service.pid());
        let mut processes = service.descendants().into_iter();
        let waiting = processes.find(|pid| !zygotes.contains(pid) && is_asleep(*pid));
        let (last, looks) = seen.get();
        seen.set(match waiting {
            Some(pid) if pid == last => (pid, looks + 1),
            other => (other.unwrap_or_default(), 1),
        });
        seen.get().0 != 0 && seen.get().1 >= LOOKS
    });
    seen.get().0
}

/// Calls `act` from this many threads until it has been called `count` times.
fn in_parallel(threads: usize, count: usize, act: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    act(index);
                }
            });
        }
    });
}

#[test]
fn sixteen_endless_loops_end_in_time_with_their_log_while_health_answers() {
    const TIMEOUT_MS: u32 = 1000;
    let service = Service::start();
    let over = AtomicBool::new(false);
    let answers = AtomicUsize::new(0);
    thread::scope(|scope| {
        let loops: Vec<_> = (0..16)
            .map(|index| {
                let service = &service;
                scope.spawn(move || {
                    service.execute(&json!({
                        "code": format!("console.log({index}); while (true) {{}}"),
                        "limits": { "timeoutMs": TIMEOUT_MS },
                    }))
                })
            })
            .collect();
        let prober = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                assert_eq!(service.get("/api/health").status, 200);
                answers.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        for (index, one) in loops.into_iter().enumerate() {
            let execution = one.join().unwrap();
            assert_eq!(execution["outcome"], "timed_out");
            assert_eq!(execution["limitHit"], "timeoutMs");
            assert_eq!(execution["log"][0]["data"], json!([index]));
            let wall_ms = execution["usage"]["wallMs"].as_f64().unwrap();
            assert!(wall_ms < f64::from(TIMEOUT_MS) + LATE_MS, "{wall_ms} ms");
        }
        over.store(true, Ordering::Relaxed);
        prober.join().unwrap();
    });
    // The loops take eight seconds. A health check that waited for an executor would take one of those seconds.
    let answers = answers.into_inner();
    assert!(answers > 40, "health answered {answers} times only");
}

#[test]
fn ten_thousand_executions_leak_nothing() {
    let service = Service::start_with(&["--recent-max", "100"]);
    in_parallel(8, 500, |_| assert_eq!(service.result("1 + 2"), 3));
    // At one moment a spare may be dead and the next one not forked yet, so the maximum of many observations counts.
    let processes = (0..25).map(|_| {
        thread::sleep(Duration::from_millis(20));
        service.descendants().len()
    });
    let processes = processes.max().unwrap();
    let (files, memory) = (descriptors(&service), resident_mib(&service));
    in_parallel(8, 10_000, |index| {
        assert_eq!(service.result(&format!("{index} + 1")), index + 1);
    });
    eventually(SOON, "no more processes than before", || {
        service.descendants().len() <= processes
    });
    eventually(SOON, "no more descriptors than before", || {
        descriptors(&service) <= files
    });
    let grown = resident_mib(&service) - memory;
    assert!(grown < 8.0, "{grown} MiB more after 10,000 executions");
}

#[test]
fn killing_every_zygote_and_child_under_load_costs_only_what_was_in_flight() {
    let service = Service::start();
    let (crashed, succeeded) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let execution =
                        service.run("let s = 0; for (let i = 0; i < 1e4; i++) s += i; s");
                    match execution["outcome"].as_str().unwrap() {
                        "succeeded" => succeeded.fetch_add(1, Ordering::Relaxed),
                        "crashed" => crashed.fetch_add(1, Ordering::Relaxed),
                        other => panic!("{other}: {execution}"),
                    };
                }
            });
        }
        for _ in 0..10 {
            for pid in service.descendants() {
                signal(pid, SIGKILL);
            }
            eventually(SOON, "ready again", || {
                service.get("/api/health/ready").json()["status"] == "UP"
            });
            thread::sleep(Duration::from_millis(100));
        }
        over.store(true, Ordering::Relaxed);
    });
    let (crashed, succeeded) = (crashed.into_inner(), succeeded.into_inner());
    // Ten times two executors: no more than were running at that moment.
    assert!(crashed <= 20, "{crashed} executions crashed");
    assert!(succeeded > 20, "only {succeeded} executions succeeded");
}

#[test]
fn a_zygote_that_dies_while_idle_costs_no_execution() {
    let service = Service::start();
    for _ in 0..5 {
        let killed = service.descendants();
        for pid in &killed {
            signal(*pid, SIGKILL);
        }
        // A busy machine is slow, and a process that survives for a moment may still take the job.
        eventually(SOON, "they are dead", || {
            !killed.iter().any(|pid| is_alive(*pid))
        });
        assert_eq!(service.result("1 + 2"), 3);
    }
    eventually(SOON, "every executor ready", || {
        service.get("/api/health/ready").json()["executors"]["ready"] == 2
    });
}

#[test]
fn a_script_whose_process_is_killed_before_it_has_done_anything_runs_in_another() {
    let service = Service::start_with(&["--executors", "1"]);
    // If the machine is slow to kill, the attempt proves nothing.
    for _ in 0..20 {
        let execution = thread::scope(|scope| {
            let execution = scope.spawn(|| service.run(SLEEPER));
            eventually(SOON, "it runs", || service.executors_busy() == 1);
            thread::sleep(Duration::from_millis(50));
            kill_job_processes(&service);
            execution.join().unwrap()
        });
        let killed_late = execution["usage"]["wallMs"].as_f64().unwrap() >= 250.0;
        if execution["outcome"] != "crashed" || !killed_late {
            assert_eq!(execution["result"], "done", "{execution}");
            // The process was killed indeed.
            let ready = service.get("/api/health/ready").json();
            assert_ne!(ready["executors"]["zygotesReplaced"], 0, "{ready}");
            return;
        }
    }
    panic!("no job process could be killed in time");
}

#[test]
fn a_script_whose_process_is_killed_twice_gets_that_as_its_error() {
    // Long enough that the second kill comes in time on any machine.
    let options = ["--executors", "1", "--timeout-ms-ceiling", "300000"];
    let service = Service::start_with(&options);
    let request = json!({
        "code": "await new Promise((done) => setTimeout(done, 290_000)); 'done'",
        "limits": { "timeoutMs": 300_000 },
    });
    let execution = thread::scope(|scope| {
        let execution = scope.spawn(|| service.execute(&request));
        for _ in 0..2 {
            signal(waiting_process(&service), SIGKILL);
        }
        execution.join().unwrap()
    });
    assert_eq!(execution["outcome"], "crashed", "{execution}");
    eventually(SOON, "it is counted once", || {
        service.get("/api/health/ready").json()["executions"]["crashed"] == 1
    });
}

#[test]
fn a_script_whose_process_is_killed_while_it_computes_gets_that_as_its_error() {
    let service = Service::start_with(&["--executors", "1"]);
    let endless = json!({ "code": "for (;;);", "limits": { "timeoutMs": 30_000 } });
    let execution = thread::scope(|scope| {
        let execution = scope.spawn(|| service.execute(&endless));
        signal(looping_process(&service), SIGKILL);
        execution.join().unwrap()
    });
    assert_eq!(execution["outcome"], "crashed", "{execution}");
    let reported = execution["error"]["message"].as_str().unwrap();
    assert!(reported.contains("killed by signal 9"), "{reported}");
}

#[test]
fn a_zygote_is_replaced_after_its_share_without_a_failure() {
    let service = Service::start_with(&["--zygote-executions", "5"]);
    let first: HashSet<u32> = service.descendants().into_iter().collect();
    in_parallel(4, 200, |_| assert_eq!(service.result("1 + 2"), 3));
    let later: HashSet<u32> = service.descendants().into_iter().collect();
    assert!(first.is_disjoint(&later), "{first:?} {later:?}");
    let ready = service.get("/api/health/ready").json();
    assert_eq!(ready["executors"]["zygotesReplaced"], 0, "{ready}");
    assert_eq!(ready["executions"]["crashed"], 0, "{ready}");
}

#[test]
fn nothing_is_left_to_process_1_when_zygotes_are_replaced() {
    for level in ["L3", "L4"] {
        let options = ["--zygote-executions", "5", "--max-isolation", level];
        let service = Service::start_as_process_1(&options);
        let processes = service.descendants().len();
        in_parallel(4, 100, |index| {
            if index % 10 == 0 {
                // A death that ends the zygote as well.
                let answer = service.get("/api/netcheck");
                assert_eq!(answer.json()["status"], "restricted");
            }
            assert_eq!(service.result("1 + 2"), 3);
        });
        eventually(SOON, "as many processes as before", || {
            service.descendants().len() <= processes
        });
    }
}

#[test]
fn ten_thousand_background_jobs_are_accepted_listed_and_drained() {
    const JOBS: usize = 10_000;
    // Submitting takes as long as the machine lets it; the executors are busy until then.
    let service = Service::start_with(&["--timeout-ms-ceiling", "3600000"]);
    let blockers: Vec<String> = (0..2)
        .map(|_| {
            service.submit(&json!({
                "code": "while (true) {}",
                "limits": { "timeoutMs": 3_600_000 },
            }))
        })
        .collect();
    let ids = Mutex::new(HashSet::new());
    in_parallel(8, JOBS, |index| {
        let id = service.submit(&json!({ "code": format!("{index}") }));
        ids.lock().unwrap().insert(id);
    });
    let refused = service.post("/api/jobs", &json!({ "code": "1" }));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "queue_full")
    );
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);

    let mut listed = HashSet::new();
    let mut path = "/api/jobs?state=queued&limit=200".to_owned();
    loop {
        let page = service.get(&path).json();
        for job in page["jobs"].as_array().unwrap() {
            listed.insert(job["id"].as_str().unwrap().to_owned());
        }
        let Value::String(cursor) = &page["nextCursor"] else {
            break;
        };
        path = format!("/api/jobs?state=queued&limit=200&cursor={cursor}");
    }
    let ids = ids.into_inner().unwrap();
    assert_eq!(ids.len(), JOBS);
    assert_eq!(listed, ids);

    for blocker in blockers {
        assert_eq!(service.delete(&format!("/api/jobs/{blocker}")).status, 200);
    }
    eventually(Duration::from_secs(300), "every job has ended", || {
        let left = |state| {
            let page = service
                .get(&format!("/api/jobs?state={state}&limit=1"))
                .json();
            page["jobs"].as_array().unwrap().len()
        };
        left("queued") + left("running") == 0
    });
    for id in ids.iter().take(200) {
        let job = service.finished(id);
        assert_eq!(job["execution"]["outcome"], "succeeded", "{job}");
    }
}

//! Executions without HTTP and without actors: what the walls and the engine cost by themselves.
//!
//! `cargo bench --bench sandbox` prints a table. Nothing fails by a figure; machines differ.
#![allow(clippy::print_stdout, clippy::unwrap_used)] // a table, printed

use sandpiper::domain::{Ceiling, JobId, Limits, Outcome, Script, ScriptDraft};
use sandpiper::sandbox::{
    EngineBody, ExecutionHandle, IsolationLevel, Sandbox, SandboxOptions, Work, ZygotePlan,
    enter_if_asked,
};
use std::thread;
use std::time::{Duration, Instant};

const EXECUTIONS: u32 = 4_000;
const SCRIPTS: [(&str, &str); 3] = [
    ("1+2", "1+2"),
    (
        "200 log lines",
        "for (let i = 0; i < 200; i++) console.log(i, 'line')",
    ),
    ("100 KB result", "'x'.repeat(100_000)"),
];

fn main() {
    enter_if_asked::<EngineBody>();
    let cores = thread::available_parallelism().unwrap().get();
    println!(
        "{:15} {:>5} {:>9} {:>8} {:>8} {:>10}",
        "script", "level", "executors", "p50 us", "p99 us", "per second"
    );
    for (name, code) in SCRIPTS {
        for level in [IsolationLevel::L2, IsolationLevel::L3, IsolationLevel::L4] {
            for executors in [1, cores] {
                row(name, code, level, executors);
            }
        }
    }
}

fn row(name: &str, code: &str, level: IsolationLevel, executors: usize) {
    let start = Instant::now();
    let mut times: Vec<Duration> = thread::scope(|scope| {
        let threads: Vec<_> = (0..executors)
            .map(|_| scope.spawn(move || measure(code, level)))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    let took = start.elapsed();
    times.sort();
    let at = |share: usize| times[times.len() * share / 100].as_micros();
    let rate = times.len() as u128 * 1_000_000 / took.as_micros();
    println!(
        "{name:15} {level:>5} {executors:>9} {:>8} {:>8} {rate:>10}",
        at(50),
        at(99)
    );
}

fn measure(code: &str, max_isolation: IsolationLevel) -> Vec<Duration> {
    let mut sandbox = Sandbox::start(SandboxOptions {
        plan: ZygotePlan { max_isolation },
        min_isolation: IsolationLevel::L2,
        kill_grace: Duration::from_millis(250),
        executions_per_zygote: 1_000,
    })
    .unwrap();
    let ceiling = Ceiling {
        timeout_ms: 2_000,
        memory_bytes: 32 << 20,
        output_bytes: 1 << 20,
    };
    let limits = Limits::defaults(2_000, 32 << 20, 1 << 20, &ceiling).unwrap();
    let script = Script::new(ScriptDraft {
        code: Some(code.to_owned()),
        ..ScriptDraft::default()
    })
    .unwrap();
    (0..EXECUTIONS)
        .map(|index| {
            let work = Work::Script {
                script: &script,
                limits,
                entropy: u64::from(index),
            };
            let start = Instant::now();
            let execution = sandbox.run(JobId::generate(), &work, &ExecutionHandle::default());
            let took = start.elapsed();
            assert_eq!(execution.unwrap().outcome, Outcome::Succeeded);
            sandbox.maintain().unwrap();
            took
        })
        .collect()
}

//! One part at a time, on one thread, with nothing else running: the cost of request parsing, isolation, engine and
//! actors.
//!
//! `benches/micro` runs it and stores the figures. Nothing fails because of a figure: machines differ. Frames and the
//! conversion of values to JSON are private to sandbox and engine, and run in a job process. Each is measured as an
//! execution that uses much of it, to be compared with `1+2`.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods // its own program
)]

use actix::{Actor as _, System};
use clap::Parser as _;
use criterion::{BatchSize, Criterion, Throughput};
use sandpiper::actors::{
    Dispatcher, DispatcherHandle, Executors, HandleParts, PurgedTenants, Stats, StoreHealth,
    sandboxes,
};
use sandpiper::config::CommandLine;
use sandpiper::usage::UsageMeter;
use sandpiper_domain::{
    Ceiling, ClientKey, Job, JobId, JsonText, Limits, Outcome, Owner, Script, ScriptDraft,
    Timestamp,
};
use sandpiper_sandbox_client::{
    ExecutionHandle, IsolationLevel, Sandbox, SandboxOptions, SandboxProgram, SpeculationControl,
    Work, ZygotePlan,
};
use sandpiper_store::{InProcessStore, MemoryStore, RecentExecutions};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

const RECORDS: usize = 1_000;
const SCRIPTS: [(&str, &str); 4] = [
    ("1+2", "1+2"),
    // One frame per line.
    (
        "200 log lines",
        "for (let i = 0; i < 200; i++) console.log(i, 'line')",
    ),
    // One value of many bytes.
    ("a string of 100 KB", "'x'.repeat(100_000)"),
    // Many values of few bytes.
    (
        "1,000 records",
        "Array.from({length: 1000}, (_, id) => ({id, name: 'record', tags: ['a', 'b'], price: id + 0.5}))",
    ),
];

fn main() {
    // Few iterations: every execution is a process with filters of its own.
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(30)
        .configure_from_args();
    border(&mut criterion);
    zygote(&mut criterion);
    executions(&mut criterion);
    dispatch(&mut criterion);
    criterion.final_summary();
}

fn limits() -> Limits {
    let ceiling = Ceiling {
        timeout_ms: 2_000,
        memory_bytes: 32 << 20,
        output_bytes: 1 << 20,
    };
    Limits::defaults(2_000, 32 << 20, 1 << 20, &ceiling).unwrap()
}

fn script(code: &str) -> Script {
    Script::new(ScriptDraft {
        code: Some(code.to_owned()),
        ..ScriptDraft::default()
    })
    .unwrap()
}

/// Measures the parsing of a request's fields.
fn border(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("border");
    group.bench_function("Script of 1+2", |bencher| {
        bencher.iter(|| script(black_box("1+2")))
    });
    let record = r#"{"id":1,"name":"record","tags":["alpha","beta","gamma"],"price":1.5,"text":"xxxxxxxxxxxxxxxxxxxxxx"}"#;
    let text = format!("[{}]", vec![record; RECORDS].join(","));
    group.throughput(Throughput::Bytes(u64::try_from(text.len()).unwrap()));
    group.bench_function("input of 100 KB checked", |bencher| {
        bencher.iter_batched(
            || text.clone(),
            |text| JsonText::parse(text).unwrap(),
            BatchSize::SmallInput,
        )
    });
    group.finish();
}

fn program() -> SandboxProgram {
    let service = Path::new(env!("CARGO_BIN_EXE_sandpiper"));
    SandboxProgram::at(&service.with_file_name("sandpiper-sandbox")).unwrap()
}

fn sandbox(max_isolation: IsolationLevel) -> Sandbox {
    Sandbox::start(SandboxOptions {
        program: program(),
        plan: ZygotePlan {
            max_isolation,
            speculation: SpeculationControl::Auto,
        },
        min_isolation: IsolationLevel::L2,
        kill_grace: Duration::from_millis(250),
        executions_per_zygote: 1_000,
    })
    .unwrap()
}

/// Measures the start of a zygote, until it reports its isolation layers.
fn zygote(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("zygote");
    for level in [IsolationLevel::L2, IsolationLevel::L3, IsolationLevel::L4] {
        group.bench_function(format!("started, {level}"), |bencher| {
            bencher.iter_with_large_drop(|| sandbox(level));
        });
    }
    group.finish();
}

/// Measures a script's execution through a job process, as an Executor runs it. The next job process is forked
/// meanwhile.
fn executions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("execution");
    for (name, code) in SCRIPTS {
        let levels: &[IsolationLevel] = match name {
            "1+2" => &[IsolationLevel::L2, IsolationLevel::L3, IsolationLevel::L4],
            _ => &[IsolationLevel::L4],
        };
        let script = script(code);
        for level in levels {
            let mut sandbox = sandbox(*level);
            group.bench_function(format!("{name}, {level}"), |bencher| {
                bencher.iter_custom(|count| {
                    (0..count)
                        .map(|entropy| one_execution(&mut sandbox, &script, entropy))
                        .sum()
                });
            });
        }
    }
    group.finish();
}

/// Runs one execution. The work of an Executor after its response is not part of the time.
fn one_execution(sandbox: &mut Sandbox, script: &Script, entropy: u64) -> Duration {
    let work = Work::Script {
        script,
        limits: limits(),
        entropy,
    };
    let start = Instant::now();
    let execution = sandbox.run(JobId::generate(), &work, &ExecutionHandle::default());
    let took = start.elapsed();
    assert_eq!(execution.unwrap().outcome, Outcome::Succeeded);
    sandbox.maintain().unwrap();
    took
}

/// Measures a message to the Dispatcher until the response, with one Executor and its real sandbox. The share of the
/// actors is the time beyond the execution alone.
fn dispatch(criterion: &mut Criterion) {
    let system = System::new();
    let handle = system.block_on(async { start_actors() });
    let script = script("1+2");
    let mut group = criterion.benchmark_group("dispatch");
    group.bench_function("1+2 through the actors, L4", |bencher| {
        bencher.iter_custom(|count| {
            system.block_on(async {
                let start = Instant::now();
                for _ in 0..count {
                    let job = Job {
                        id: JobId::generate(),
                        script: script.clone(),
                        limits: limits(),
                        owner: Owner::default(),
                        client: ClientKey::new("bench"),
                        trace: None,
                    };
                    let execution = handle.execute(Arc::new(job)).await.unwrap();
                    assert_eq!(execution.outcome, Outcome::Succeeded);
                }
                start.elapsed()
            })
        });
    });
    group.finish();
}

/// Starts the actors as the service does.
fn start_actors() -> DispatcherHandle {
    let command = ["sandpiper", "--store", "memory", "--executors", "1"];
    let options = CommandLine::parse_from(command).serve;
    let stats = Stats::new(options.executors());
    let factory = sandboxes(options.isolation.sandbox(program()));
    let executors = Executors::start(factory, Arc::clone(&stats), None);
    let records = Arc::new(MemoryStore::new(options.memory_store()));
    let store = Arc::new(InProcessStore::new(records, options.attempts_max));
    let recent = Arc::new(RecentExecutions::new(options.recent()));
    let dispatcher = Dispatcher::new(
        options.dispatcher(),
        executors,
        Arc::clone(&stats),
        store.clone(),
        Arc::clone(&recent),
        UsageMeter::new(store.clone()),
    )
    .start();
    DispatcherHandle::new(HandleParts {
        dispatcher,
        purged_tenants: PurgedTenants::new(store.clone()),
        store_health: StoreHealth::new(store.clone()),
        store,
        recent,
        stats,
        isolation_level: IsolationLevel::L2,
        isolation_layers: Vec::new(),
        execute_within: options.execute_within(),
        net_check_limits: limits(),
        started_at: Timestamp::now(),
        drained: watch::Sender::new(false),
    })
}

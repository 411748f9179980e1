//! Every attack of this crate against a real sandbox, at each isolation level that this machine has.
#![allow(clippy::unwrap_used)] // a test

mod rounds;

use libtest_mimic::{Arguments, Failed, Trial};
use sandpiper_domain::{Ceiling, Execution, JobId, Limits, Outcome, Script, ScriptDraft};
use sandpiper_sandbox_attackers::{ALLOWED, FORBIDDEN, FORGERIES, count_marks, mark};
use sandpiper_sandbox_client::{
    ExecutionHandle, IsolationLevel, Sandbox, SandboxOptions, SandboxProgram, SpeculationControl,
    Work, ZygotePlan,
};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Time limit of an attack, milliseconds. An attack has nothing to wait for.
const TIMEOUT_MS: u32 = 2_000;
/// Time limit of a flood, milliseconds. It must reach a bound before its deadline, even where system calls are slow.
const TIMEOUT_OF_FLOODS_MS: u32 = 20_000;
const KILL_GRACE: Duration = Duration::from_millis(250);
/// Extra time for a busy machine.
const SLACK: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let mut trials = Vec::new();
    // Only levels that this machine reaches are tried, so that each name is true.
    let highest = sandbox(IsolationLevel::L4).isolation().unwrap().0;
    let levels = [IsolationLevel::L2, IsolationLevel::L3, IsolationLevel::L4];
    for level in levels.into_iter().filter(|level| *level <= highest) {
        for attack in FORBIDDEN {
            trials.push(Trial::test(
                format!("{level}_{attack}_kills_its_caller"),
                move || is_killed_for_a_forbidden_call(level, attack),
            ));
        }
    }
    for (forgery, expected) in FORGERIES {
        trials.push(Trial::test(
            format!("{forgery}_is_a_crash_and_no_more"),
            move || is_a_crash(forgery, expected),
        ));
    }
    trials.extend(rounds::trials());
    trials.extend([
        Trial::test(
            "the_table_in_security_names_every_attack",
            the_table_in_security_names_every_attack,
        ),
        Trial::test("allowed_calls_return", allowed_calls_return),
        Trial::test("a_killed_job_leaves_its_log", a_killed_job_leaves_its_log),
        Trial::test("a_job_process_has_one_slot", a_job_process_has_one_slot),
        Trial::test(
            "a_job_cancelled_before_it_starts_costs_no_zygote",
            a_job_cancelled_before_it_starts_costs_no_zygote,
        ),
        Trial::test(
            "bytes_after_the_final_frame_reach_no_other_job",
            bytes_after_the_final_frame_reach_no_other_job,
        ),
        Trial::test(
            "an_attack_costs_only_its_own_zygote",
            an_attack_costs_only_its_own_zygote,
        ),
        Trial::test(
            "the_registers_of_its_zygote_are_not_a_jobs",
            the_registers_of_its_zygote_are_not_a_jobs,
        ),
        Trial::test(
            "memory_ends_at_the_jobs_own_bound",
            memory_ends_at_the_jobs_own_bound,
        ),
    ]);
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn sandbox(max_isolation: IsolationLevel) -> Sandbox {
    let attackers = Path::new(env!("CARGO_BIN_EXE_sandpiper-sandbox-attackers"));
    Sandbox::start(SandboxOptions {
        program: SandboxProgram::at(attackers).unwrap(),
        plan: ZygotePlan {
            max_isolation,
            speculation: SpeculationControl::Auto,
        },
        min_isolation: IsolationLevel::L2,
        kill_grace: KILL_GRACE,
        executions_per_zygote: 1_000,
    })
    .unwrap()
}

fn run(sandbox: &mut Sandbox, attack: &str) -> Execution {
    run_with(sandbox, attack, &ExecutionHandle::default())
}

fn run_with(sandbox: &mut Sandbox, attack: &str, handle: &ExecutionHandle) -> Execution {
    let timeout_ms = if attack.ends_with("_without_end") {
        TIMEOUT_OF_FLOODS_MS
    } else {
        TIMEOUT_MS
    };
    let ceiling = Ceiling {
        timeout_ms,
        memory_bytes: 8 << 20,
        output_bytes: 64 << 10,
    };
    let limits = Limits::defaults(timeout_ms, 8 << 20, 64 << 10, &ceiling).unwrap();
    let script = Script::new(ScriptDraft {
        code: Some(attack.to_owned()),
        ..ScriptDraft::default()
    })
    .unwrap();
    let work = Work::Script {
        script: &script,
        limits,
        entropy: 0,
    };
    let start = Instant::now();
    let execution = sandbox.run(JobId::generate(), &work, handle).unwrap();
    let took = start.elapsed();
    let most = limits.timeout() + KILL_GRACE + SLACK;
    assert!(took < most, "{attack} took {took:?}");
    execution
}

fn message_of(execution: &Execution) -> &str {
    execution
        .error
        .as_ref()
        .map_or("", |error| error.message.as_str())
}

fn result_of(execution: &Execution) -> &str {
    let result = execution.result.as_ref();
    result.map_or("", |result| result.as_str())
}

fn check(holds: bool, execution: &Execution) -> Result<(), Failed> {
    if holds {
        return Ok(());
    }
    Err(format!("{execution:?}").into())
}

fn is_killed_for_a_forbidden_call(level: IsolationLevel, attack: &str) -> Result<(), Failed> {
    let mut sandbox = sandbox(level);
    assert_eq!(sandbox.isolation().unwrap().0, level);
    let execution = run(&mut sandbox, attack);
    let killed = execution.outcome == Outcome::Crashed
        && message_of(&execution).contains("system call that is forbidden");
    check(killed, &execution)
}

fn is_a_crash(forgery: &str, expected: &str) -> Result<(), Failed> {
    let mut sandbox = sandbox(IsolationLevel::L4);
    let execution = run(&mut sandbox, forgery);
    let is_expected = match execution.outcome {
        Outcome::Crashed => message_of(&execution).contains(expected),
        Outcome::TimedOut => expected == "timed out",
        _ => false,
    };
    check(is_expected, &execution)?;
    let next = run(&mut sandbox, "nothing");
    check(next.outcome == Outcome::Succeeded, &next)
}

/// The control: if the harness itself killed everything, the tests above would prove nothing.
fn allowed_calls_return() -> Result<(), Failed> {
    for harmless in ALLOWED {
        let execution = run(&mut sandbox(IsolationLevel::L4), harmless);
        check(execution.outcome == Outcome::Succeeded, &execution)?;
    }
    Ok(())
}

fn the_table_in_security_names_every_attack() -> Result<(), Failed> {
    let table = include_str!("../../../../SECURITY.md");
    let forgeries = FORGERIES.iter().map(|(forgery, _)| forgery);
    let of_rounds = sandpiper_sandbox_attackers::rounds::ALL.iter();
    let of_rounds = of_rounds.map(|(forgery, _)| forgery);
    let missing: Vec<&&str> = (FORBIDDEN.iter().chain(forgeries).chain(of_rounds))
        .filter(|name| !table.contains(&format!("`{name}`")))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("SECURITY.md does not name {missing:?}").into())
}

fn a_killed_job_leaves_its_log() -> Result<(), Failed> {
    let execution = run(&mut sandbox(IsolationLevel::L4), "log_then_spin");
    let kept = execution.outcome == Outcome::TimedOut && execution.log.len() == 1;
    check(kept, &execution)
}

fn a_job_cancelled_before_it_starts_costs_no_zygote() -> Result<(), Failed> {
    let mut sandbox = sandbox(IsolationLevel::L4);
    let handle = ExecutionHandle::default();
    handle.cancel();
    for _ in 0..4 {
        let execution = run_with(&mut sandbox, "nothing", &handle);
        check(execution.outcome == Outcome::Cancelled, &execution)?;
        let execution = run(&mut sandbox, "nothing");
        check(result_of(&execution) == "0", &execution)?;
    }
    let counters = sandbox.counters();
    if counters.zygotes_failed == 0 {
        return Ok(());
    }
    Err(format!("{counters:?}").into())
}

/// Job processes of a zygote use two slots in turn, so both are tried.
fn a_job_process_has_one_slot() -> Result<(), Failed> {
    let mut sandbox = sandbox(IsolationLevel::L4);
    for _ in 0..4 {
        let execution = run(&mut sandbox, "touch_the_other_slot");
        check(result_of(&execution) == "0", &execution)?;
    }
    Ok(())
}

/// The next job process has been forked by the time its job comes, or not: both are tried.
fn bytes_after_the_final_frame_reach_no_other_job() -> Result<(), Failed> {
    let mut sandbox = sandbox(IsolationLevel::L4);
    for turn in 0..200 {
        let execution = run(&mut sandbox, "write_after_the_final_frame");
        check(result_of(&execution) == "1", &execution)?;
        if turn % 2 == 0 {
            sandbox.maintain().unwrap();
        }
        // Two, so that each slot is used after the attack.
        for _ in 0..2 {
            let execution = run(&mut sandbox, "nothing");
            check(
                result_of(&execution) == "0" && execution.log.is_empty(),
                &execution,
            )?;
        }
    }
    // The executions after the attack cost no zygote.
    let failed = sandbox.counters().zygotes_failed;
    if failed > 0 {
        return Err(format!("{failed} zygotes were discarded").into());
    }
    Ok(())
}

fn an_attack_costs_only_its_own_zygote() -> Result<(), Failed> {
    let mut sandbox = sandbox(IsolationLevel::L4);
    for _ in 0..5 {
        let attacked = run(&mut sandbox, "open");
        check(attacked.outcome == Outcome::Crashed, &attacked)?;
        let honest = run(&mut sandbox, "nothing");
        check(honest.outcome == Outcome::Succeeded, &honest)?;
    }
    let counters = sandbox.counters();
    if counters.crashed == 5 && counters.zygotes_failed == 5 {
        return Ok(());
    }
    Err(format!("{counters:?}").into())
}

/// The control comes first: without it, a mark that cannot be found would be no proof.
fn the_registers_of_its_zygote_are_not_a_jobs() -> Result<(), Failed> {
    mark();
    assert!(count_marks() >= 2, "{}", count_marks());
    let mut sandbox = sandbox(IsolationLevel::L4);
    for _ in 0..4 {
        let execution = run(&mut sandbox, "the_registers_of_its_zygote");
        check(result_of(&execution) == "0", &execution)?;
    }
    Ok(())
}

fn memory_ends_at_the_jobs_own_bound() -> Result<(), Failed> {
    let execution = run(&mut sandbox(IsolationLevel::L4), "map_memory_until_refused");
    let mapped: u64 = execution
        .result
        .as_ref()
        .and_then(|result| result.as_str().parse().ok())
        .ok_or_else(|| Failed::from(format!("{execution:?}")))?;
    // The heap's 8 MiB, and the overhead that crates/sandbox-protocol/src/job.rs grants in addition.
    check(mapped <= 64 << 20, &execution)
}

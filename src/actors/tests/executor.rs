//! Executors whose runners panic and fail, in a real SyncArbiter.

use super::super::executor::{CheckUp, ExecutorFailure, ExecutorResult, Executors};
use super::super::runner::RunnerFactory;
use super::super::stats::{ExecutorKind, Stats};
use super::support::{
    FakeRunner, OnDrop, eventually, execute_message, executed, panic_quietly, soon, zygote_failed,
};
use sandpiper_domain::{Execution, Outcome, samples};
use sandpiper_sandbox_client::SandboxError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

/// Executors with the runners that `make` returns. Counts the calls of `make`.
struct Rig {
    stats: Arc<Stats>,
    executors: Executors,
    made: Arc<AtomicUsize>,
}

impl Rig {
    fn start(
        executors: usize,
        make: impl Fn() -> Result<FakeRunner, SandboxError> + Send + Sync + 'static,
    ) -> Self {
        let stats = Stats::new(executors);
        let made = Arc::new(AtomicUsize::new(0));
        let factory: RunnerFactory<FakeRunner> = {
            let made = Arc::clone(&made);
            Arc::new(move || {
                made.fetch_add(1, Ordering::SeqCst);
                make()
            })
        };
        let executors = Executors::start(factory, Arc::clone(&stats), None);
        Self {
            stats,
            executors,
            made,
        }
    }

    fn send(&self) -> oneshot::Receiver<ExecutorResult> {
        let (message, result) = execute_message();
        self.executors.work_queue.push(message);
        result
    }

    async fn run(&self) -> Result<Execution, ExecutorFailure> {
        let result = soon("an executor sends a result", self.send()).await;
        executed(result.expect("an executor sends a result or is restarted, it never drops a job"))
    }

    async fn is_ready(&self, executors: usize) {
        let ready = || self.stats.executors_ready() == executors;
        eventually("so many executors are ready", ready).await;
    }

    fn revived(&self) -> u64 {
        self.stats.executors_revived.load(Ordering::SeqCst)
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }
}

/// A barrier: only as many threads as are wanted, all alive, can pass it.
struct Meeting {
    wanted: usize,
    come: Mutex<usize>,
    all_here: Condvar,
}

impl Meeting {
    fn of(wanted: usize) -> Arc<Self> {
        Arc::new(Self {
            wanted,
            come: Mutex::new(0),
            all_here: Condvar::new(),
        })
    }

    /// Returns true if all have arrived in time.
    fn join(&self) -> bool {
        let mut come = self.come.lock().unwrap();
        *come += 1;
        self.all_here.notify_all();
        let patience = Duration::from_secs(10);
        let still_missing = |come: &mut usize| *come < self.wanted;
        let (_guard, waited) = self
            .all_here
            .wait_timeout_while(come, patience, still_missing)
            .unwrap();
        !waited.timed_out()
    }
}

/// Returns a runner whose runs succeed only if so many threads run at the same time.
fn run_together(meeting: Arc<Meeting>) -> FakeRunner {
    FakeRunner::that_runs(move |id, _| {
        if meeting.join() {
            Ok(samples::success(id, 2))
        } else {
            Err(zygote_failed())
        }
    })
}

/// Returns a runner that panics while `panics` is true, and then meets the others.
fn run_together_after_panics(panics: Arc<AtomicBool>, meeting: Arc<Meeting>) -> FakeRunner {
    FakeRunner::that_runs(move |id, _| {
        if panics.load(Ordering::SeqCst) {
            panic_quietly();
        }
        if meeting.join() {
            Ok(samples::success(id, 2))
        } else {
            Err(zygote_failed())
        }
    })
}

async fn all_succeed(results: Vec<oneshot::Receiver<ExecutorResult>>) {
    for result in results {
        let result = soon("an executor sends a result", result).await.unwrap();
        assert_eq!(executed(result).unwrap().outcome, Outcome::Succeeded);
    }
}

#[actix::test]
async fn every_executor_works_at_the_same_time() {
    let meeting = Meeting::of(3);
    let rig = Rig::start(3, move || Ok(run_together(Arc::clone(&meeting))));
    all_succeed((0..3).map(|_| rig.send()).collect()).await;
}

#[actix::test]
async fn a_panic_is_reported_and_counted_and_the_next_job_runs() {
    let panics = Arc::new(AtomicBool::new(true));
    let meeting = Meeting::of(1);
    let rig = {
        let panics = Arc::clone(&panics);
        Rig::start(1, move || {
            Ok(run_together_after_panics(
                Arc::clone(&panics),
                Arc::clone(&meeting),
            ))
        })
    };
    assert_eq!(rig.run().await, Err(ExecutorFailure::Panicked));
    panics.store(false, Ordering::SeqCst);
    assert_eq!(rig.run().await.unwrap().outcome, Outcome::Succeeded);
    assert_eq!(rig.revived(), 1);
    assert_eq!(rig.made(), 2, "the runner that panicked was used again");
    rig.is_ready(1).await;
}

#[actix::test]
async fn a_panic_in_every_run_kills_no_thread_for_good() {
    let panics = Arc::new(AtomicBool::new(true));
    let meeting = Meeting::of(2);
    let rig = {
        let panics = Arc::clone(&panics);
        Rig::start(2, move || {
            Ok(run_together_after_panics(
                Arc::clone(&panics),
                Arc::clone(&meeting),
            ))
        })
    };
    for _ in 0..20 {
        assert_eq!(rig.run().await, Err(ExecutorFailure::Panicked));
    }
    eventually("each panic is counted", || rig.revived() == 20).await;
    panics.store(false, Ordering::SeqCst);
    // Both threads are needed for either to succeed.
    all_succeed(vec![rig.send(), rig.send()]).await;
    rig.is_ready(2).await;
}

#[actix::test]
async fn an_executor_without_a_sandbox_reports_it_until_it_has_one_again() {
    let works = Arc::new(AtomicBool::new(false));
    let rig = {
        let works = Arc::clone(&works);
        Rig::start(1, move || {
            if works.load(Ordering::SeqCst) {
                Ok(FakeRunner::new())
            } else {
                Err(zygote_failed())
            }
        })
    };
    assert_eq!(rig.run().await, Err(ExecutorFailure::NoSandbox));
    assert_eq!(rig.stats.executors_ready(), 0);
    works.store(true, Ordering::SeqCst);
    assert_eq!(rig.run().await.unwrap().outcome, Outcome::Succeeded);
    rig.is_ready(1).await;
}

#[actix::test]
async fn a_check_up_starts_a_sandbox_that_could_not_be_started_before() {
    let works = Arc::new(AtomicBool::new(false));
    let rig = {
        let works = Arc::clone(&works);
        Rig::start(1, move || {
            if works.load(Ordering::SeqCst) {
                Ok(FakeRunner::new())
            } else {
                Err(zygote_failed())
            }
        })
    };
    eventually("its start has failed", || rig.made() == 1).await;
    assert_eq!(rig.stats.executors_ready(), 0);
    works.store(true, Ordering::SeqCst);
    let (done, is_done) = oneshot::channel();
    rig.executors.work_queue.push_check_up(CheckUp(done));
    soon("it is done", is_done).await.unwrap();
    rig.is_ready(1).await;
}

/// Starts an executor whose first runner is `bad()`, and whose next ones succeed at everything.
fn rig_of_one_bad_runner(bad: impl Fn() -> FakeRunner + Send + Sync + 'static) -> Rig {
    let is_first = AtomicBool::new(true);
    Rig::start(1, move || {
        if is_first.swap(false, Ordering::SeqCst) {
            Ok(bad())
        } else {
            Ok(FakeRunner::new())
        }
    })
}

#[actix::test]
async fn a_runner_whose_upkeep_fails_is_replaced_after_its_last_result_was_sent() {
    let rig = rig_of_one_bad_runner(|| FakeRunner {
        care: Arc::new(|| Err(zygote_failed())),
        ..FakeRunner::new()
    });
    assert_eq!(rig.run().await.unwrap().outcome, Outcome::Succeeded);
    rig.is_ready(0).await;
    assert_eq!(rig.run().await.unwrap().outcome, Outcome::Succeeded);
    assert_eq!(rig.made(), 2);
    rig.is_ready(1).await;
}

#[actix::test]
async fn a_panic_in_the_upkeep_costs_the_runner_and_not_the_thread() {
    let rig = rig_of_one_bad_runner(|| FakeRunner {
        care: Arc::new(|| panic_quietly()),
        ..FakeRunner::new()
    });
    assert_eq!(rig.run().await.unwrap().outcome, Outcome::Succeeded);
    assert_eq!(rig.run().await.unwrap().outcome, Outcome::Succeeded);
    assert_eq!(rig.made(), 2);
    assert_eq!(rig.revived(), 1);
    rig.is_ready(1).await;
}

#[actix::test]
async fn a_panic_while_a_sandbox_starts_costs_no_thread() {
    let works = Arc::new(AtomicBool::new(false));
    let rig = {
        let works = Arc::clone(&works);
        Rig::start(1, move || {
            if !works.load(Ordering::SeqCst) {
                panic_quietly();
            }
            Ok(FakeRunner::new())
        })
    };
    assert_eq!(rig.run().await, Err(ExecutorFailure::NoSandbox));
    works.store(true, Ordering::SeqCst);
    assert_eq!(rig.run().await.unwrap().outcome, Outcome::Succeeded);
    rig.is_ready(1).await;
}

#[actix::test]
async fn a_runner_that_panics_even_when_it_is_dropped_costs_no_thread() {
    let rig = rig_of_one_bad_runner(|| FakeRunner {
        on_drop: OnDrop(|| panic_quietly()),
        ..FakeRunner::that_runs(|_, _| panic_quietly())
    });
    assert_eq!(rig.run().await, Err(ExecutorFailure::Panicked));
    assert_eq!(rig.run().await.unwrap().outcome, Outcome::Succeeded);
    rig.is_ready(1).await;
}

#[actix::test]
async fn a_failed_run_is_reported_as_no_sandbox_and_the_runner_stays() {
    let fails = Arc::new(AtomicBool::new(true));
    let rig = {
        let fails = Arc::clone(&fails);
        Rig::start(1, move || {
            let fails = Arc::clone(&fails);
            Ok(FakeRunner::that_runs(move |id, _| {
                if fails.load(Ordering::SeqCst) {
                    return Err(zygote_failed());
                }
                Ok(samples::success(id, 2))
            }))
        })
    };
    assert_eq!(rig.run().await, Err(ExecutorFailure::NoSandbox));
    fails.store(false, Ordering::SeqCst);
    assert_eq!(rig.run().await.unwrap().outcome, Outcome::Succeeded);
    assert_eq!(rig.made(), 1);
}

#[actix::test]
async fn a_crash_counts_once_even_if_its_runner_is_lost() {
    // Every runner crashes its job; every second one then fails its upkeep.
    let upkeep_fails = Arc::new(AtomicBool::new(false));
    let rig = {
        let upkeep_fails = Arc::clone(&upkeep_fails);
        Rig::start(1, move || {
            let upkeep_fails = Arc::clone(&upkeep_fails);
            Ok(FakeRunner {
                care: Arc::new(move || {
                    if upkeep_fails.fetch_xor(true, Ordering::SeqCst) {
                        return Err(zygote_failed());
                    }
                    Ok(())
                }),
                ..FakeRunner::that_runs(|id, _| Ok(samples::execution(id, Outcome::Crashed)))
            })
        })
    };
    for crashes in 1..=6 {
        assert_eq!(rig.run().await.unwrap().outcome, Outcome::Crashed);
        let counted = || rig.stats.executions_crashed.load(Ordering::SeqCst);
        eventually("each crash is counted", || counted() >= crashes).await;
        assert_eq!(counted(), crashes);
    }
    assert!(rig.made() >= 3, "no runner was lost");
}

#[actix::test]
async fn an_executor_is_busy_while_it_runs_something_and_no_longer() {
    let meeting = Meeting::of(2);
    let guest = Arc::clone(&meeting);
    let rig = Rig::start(2, move || Ok(run_together(Arc::clone(&guest))));
    let result = rig.send();
    eventually("one is busy", || rig.stats.executors_busy() == 1).await;
    assert!(meeting.join());
    all_succeed(vec![result]).await;
    eventually("none is busy", || rig.stats.executors_busy() == 0).await;
}

#[actix::test]
async fn slots_of_the_stats_are_free_again_after_a_panic_and_after_the_end() {
    let rig = Rig::start(2, || Ok(FakeRunner::that_runs(|_, _| panic_quietly())));
    for _ in 0..10 {
        assert_eq!(rig.run().await, Err(ExecutorFailure::Panicked));
    }
    rig.is_ready(2).await;
    assert!(
        rig.stats.take_slot(ExecutorKind::Regular).is_none(),
        "a slot was left taken"
    );
    let Rig {
        stats, executors, ..
    } = rig;
    drop(executors);
    eventually("both have ended", || stats.executors_ready() == 0).await;
    let mut slots = Vec::new();
    let taken = std::cell::RefCell::new(&mut slots);
    eventually("both slots are free", || {
        let mut taken = taken.borrow_mut();
        taken.extend(stats.take_slot(ExecutorKind::Regular));
        taken.len() == 2
    })
    .await;
}

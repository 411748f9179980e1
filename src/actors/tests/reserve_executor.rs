//! Reserve executors with fake runners, in a real SyncArbiter: started on demand, ended, and restarted.

use super::super::executor::{CheckUp, ExecutorFailure, Executors};
use super::super::runner::RunnerFactory;
use super::super::stats::Stats;
use super::support::{FakeRunner, eventually, execute_message, executed, panic_quietly, soon};
use crate::telemetry::Telemetry;
use sandpiper_domain::{Execution, Outcome, samples};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::oneshot;

/// One executor and two reserve executors, whose runners panic while they are told to.
struct Rig {
    stats: Arc<Stats>,
    executors: Executors,
    made: Arc<AtomicUsize>,
    panics: Arc<AtomicBool>,
}

impl Rig {
    async fn start() -> Self {
        let stats = Stats::with_telemetry(1, 2, Telemetry::off());
        let (made, panics) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let factory: RunnerFactory<FakeRunner> = {
            let (made, panics) = (Arc::clone(&made), Arc::clone(&panics));
            Arc::new(move || {
                made.fetch_add(1, Ordering::SeqCst);
                let panics = Arc::clone(&panics);
                Ok(FakeRunner::that_runs(move |id, _| {
                    if panics.load(Ordering::SeqCst) {
                        panic_quietly();
                    }
                    Ok(samples::success(id, 2))
                }))
            })
        };
        let executors = Executors::start(factory, Arc::clone(&stats), None);
        let rig = Self {
            stats,
            executors,
            made,
            panics,
        };
        eventually("the executor is up", || rig.stats.executors_ready() == 1).await;
        rig
    }

    async fn raise(&self, index: usize) {
        let (done, is_done) = oneshot::channel();
        self.executors.reserve_queues[index].push_check_up(CheckUp(done));
        soon("it is up", is_done).await.unwrap();
    }

    async fn run(&self, index: usize) -> Result<Execution, ExecutorFailure> {
        let (message, result) = execute_message();
        self.executors.reserve_queues[index].push(message);
        executed(soon("the executor sends a result", result).await.unwrap())
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }
}

#[actix::test]
async fn a_reserve_executor_has_a_sandbox_from_its_check_up_until_its_zygote_is_to_end() {
    let rig = Rig::start().await;
    let up = || rig.stats.reserve_executors_up();
    assert_eq!((rig.made(), up(), rig.stats.reserve_executors()), (1, 0, 2));
    rig.raise(1).await;
    assert_eq!((rig.made(), up()), (2, 1));
    assert!(!rig.stats.is_reserve_up(0) && rig.stats.is_reserve_up(1));
    // A reserve executor does not count as an executor.
    assert_eq!(rig.stats.executors_ready(), 1);
    assert_eq!(rig.run(1).await.unwrap().outcome, Outcome::Succeeded);
    assert_eq!(rig.made(), 2);
    rig.executors.reserve_queues[1].push_end_zygote();
    eventually("it is down", || up() == 0).await;
    rig.raise(1).await;
    assert_eq!((rig.made(), up()), (3, 1));
}

#[actix::test]
async fn a_reserve_executor_that_panics_is_restarted_and_pops_from_its_own_queue_again() {
    let rig = Rig::start().await;
    rig.raise(0).await;
    rig.raise(1).await;
    rig.panics.store(true, Ordering::SeqCst);
    for index in [0, 1, 0] {
        assert_eq!(rig.run(index).await, Err(ExecutorFailure::Panicked));
    }
    rig.panics.store(false, Ordering::SeqCst);
    for index in [0, 1] {
        assert_eq!(rig.run(index).await.unwrap().outcome, Outcome::Succeeded);
    }
    eventually("each panic is counted", || {
        rig.stats.executors_revived.load(Ordering::SeqCst) == 3
    })
    .await;
}

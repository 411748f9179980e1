//! Reserve executors over fake runners, in a real SyncArbiter: raised when they are asked to, let go, and brought back.

use super::super::board::Board;
use super::super::executor::{
    CheckUp, Execute, ExecutorAnswer, ExecutorFailure, Executors, Origin,
};
use super::super::runner::{RunnerFactory, Task};
use super::support::{FakeRunner, eventually, panic_quietly, soon};
use crate::telemetry::Telemetry;
use sandpiper_domain::{JobId, Lane, Outcome, samples};
use sandpiper_sandbox_client::ExecutionHandle;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::oneshot;

/// One executor and two reserve executors, whose runners panic as long as they are told to.
struct Rig {
    board: Arc<Board>,
    executors: Executors,
    made: Arc<AtomicUsize>,
    panics: Arc<AtomicBool>,
}

impl Rig {
    async fn start() -> Self {
        let board = Board::with_telemetry(1, 2, Telemetry::off());
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
        let executors = Executors::start(factory, Arc::clone(&board), None);
        let rig = Self {
            board,
            executors,
            made,
            panics,
        };
        eventually("the executor is up", || rig.board.executors_ready() == 1).await;
        rig
    }

    async fn raise(&self, index: usize) {
        let (done, is_done) = oneshot::channel();
        self.executors.reserve_trays[index].ask_for_check_up(CheckUp(done));
        soon("it is up", is_done).await.unwrap();
    }

    async fn run(&self, index: usize) -> ExecutorAnswer {
        let (reply, answer) = oneshot::channel();
        self.executors.reserve_trays[index].lay(Execute {
            id: JobId::generate(),
            task: Task::Script(samples::script(1), samples::limits()),
            origin: Origin {
                lane: Lane::Interactive,
                since: Instant::now(),
                trace: None,
            },
            handle: ExecutionHandle::default(),
            reply,
        });
        soon("it answers", answer).await.unwrap()
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }
}

#[actix::test]
async fn a_reserve_executor_has_a_sandbox_from_when_it_is_asked_to_come_up_until_it_is_to_rest() {
    let rig = Rig::start().await;
    let up = || rig.board.reserve_executors_up();
    assert_eq!((rig.made(), up(), rig.board.reserve_executors()), (1, 0, 2));
    rig.raise(1).await;
    assert_eq!((rig.made(), up()), (2, 1));
    assert!(!rig.board.is_reserve_up(0) && rig.board.is_reserve_up(1));
    // It is none of the executors.
    assert_eq!(rig.board.executors_ready(), 1);
    assert_eq!(rig.run(1).await.unwrap().outcome, Outcome::Succeeded);
    assert_eq!(rig.made(), 2);
    rig.executors.reserve_trays[1].ask_to_rest();
    eventually("it is down", || up() == 0).await;
    rig.raise(1).await;
    assert_eq!((rig.made(), up()), (3, 1));
}

#[actix::test]
async fn a_reserve_executor_that_panics_is_brought_back_and_takes_its_own_work_again() {
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
        rig.board.executors_revived.load(Ordering::SeqCst) == 3
    })
    .await;
}

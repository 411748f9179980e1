//! Jobs with tools in every kind of store, with rounds that the tests write themselves: suspensions, answers, wake-ups and
//! what is left of a job.

mod answers;
mod durable;
mod life;
mod races;

use crate::stores::Store;
use crate::usage_store::durable_options;
use async_trait::async_trait;
use parking_lot::Mutex;
use sandpiper_domain::tools::{Tool, ToolName, Tools};
use sandpiper_domain::{
    Access, ClientKey, Job, JobId, JobRecord, JobState, JobTerms, LogSoFar, Owner, Script,
    ScriptDraft, Timestamp, samples,
};
use sandpiper_store::{
    Address, Answered, DurableOptions, DurableStore, FinalRound, Found, InProcessStore, JobRunner,
    JobStore, ListQuery, MemoryStore, MemoryStoreBounds, NewAnswer, NewJob, NotRun, OfferedCall,
    QueuePlace, Ran, StartHook, SuspendedRound, ToolProgress, WaitingBounds,
};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Far longer than any step takes.
const PATIENCE: Duration = Duration::from_secs(60);
const TTL: Duration = Duration::from_secs(600);
/// Room for every inbox of the tests.
const ROOMY: u64 = 1 << 20;

type Round = dyn Fn(&Job, &ToolProgress) -> Ran + Send + Sync;

/// A runner whose rounds are a function of the progress.
struct TestRunner {
    round: Box<Round>,
    /// Time that a round takes.
    takes: Mutex<Duration>,
    rounds: AtomicUsize,
}

impl fmt::Debug for TestRunner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TestRunner")
    }
}

#[async_trait]
impl JobRunner for TestRunner {
    async fn run(
        &self,
        job: Arc<Job>,
        progress: Option<Arc<ToolProgress>>,
        _: QueuePlace,
        mut on_start: StartHook,
    ) -> Result<Ran, NotRun> {
        self.rounds.fetch_add(1, Ordering::SeqCst);
        on_start.call();
        let takes = *self.takes.lock();
        if takes.is_zero() {
            // The store notes the start before the end.
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(takes).await;
        }
        Ok(match progress {
            Some(progress) => (self.round)(&job, &progress),
            None => Ran::Ended(Arc::new(samples::success(job.id, 2)), None),
        })
    }

    async fn log_since(&self, _: JobId, _: u64) -> Option<LogSoFar> {
        None
    }

    async fn cancel(&self, _: JobId) {}
}

/// A store that runs jobs with rounds of a test, and the runtime that waits for it.
struct Tested {
    store: Arc<dyn JobStore>,
    runner: Arc<TestRunner>,
    runtime: Runtime,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn options(address: Address) -> DurableOptions {
    DurableOptions {
        ttl: TTL,
        executors: 4,
        client_jobs_max: 1_000,
        client_bytes: 64 << 20,
        bytes_max: 256 << 20,
        connections: 8,
        ..durable_options(address)
    }
}

fn address(store: &Store) -> Option<Address> {
    match store {
        Store::Memory => None,
        Store::Sqlite(folder) => Some(Address::Sqlite(folder.path("jobs.db"))),
        Store::Postgres(url) => Some(Address::Postgres(url.clone())),
    }
}

impl Tested {
    fn new(
        store: &Store,
        round: impl Fn(&Job, &ToolProgress) -> Ran + Send + Sync + 'static,
    ) -> Self {
        Self::within(store, WaitingBounds::DEFAULT, round)
    }

    fn within(
        store: &Store,
        waiting: WaitingBounds,
        round: impl Fn(&Job, &ToolProgress) -> Ran + Send + Sync + 'static,
    ) -> Self {
        let store: Arc<dyn JobStore> = match address(store) {
            None => {
                let records = MemoryStore::new(MemoryStoreBounds {
                    jobs_max: 10_000,
                    bytes_max: 256 << 20,
                    ttl: TTL,
                    client_jobs_max: 1_000,
                    client_bytes: 64 << 20,
                    usage_kept: TTL,
                    waiting,
                });
                Arc::new(InProcessStore::new(Arc::new(records), 3))
            }
            Some(address) => {
                let options = DurableOptions {
                    waiting,
                    ..options(address)
                };
                Arc::new(DurableStore::open(options).unwrap())
            }
        };
        Self::of(store, round)
    }

    fn of(
        store: Arc<dyn JobStore>,
        round: impl Fn(&Job, &ToolProgress) -> Ran + Send + Sync + 'static,
    ) -> Self {
        let runner = Arc::new(TestRunner {
            round: Box::new(round),
            takes: Mutex::default(),
            rounds: AtomicUsize::new(0),
        });
        let tested = Self {
            store,
            runner,
            runtime: runtime(),
        };
        let dispatch = async { tested.store.start_dispatch(Arc::clone(&tested.runner) as _) };
        tested.runtime.block_on(dispatch).unwrap();
        tested
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, work).await })
            .expect("it takes too long")
    }

    fn submit(&self) -> JobId {
        self.submit_of("test")
    }

    fn submit_of(&self, client: &str) -> JobId {
        self.run(self.store.submit(new_job(client))).unwrap().job.id
    }

    /// Waits until a job has its final state, or waits for its reader.
    fn settled(&self, id: JobId) -> JobRecord {
        job(self
            .run(self.store.wait(id, &Access::All, PATIENCE))
            .unwrap())
    }

    fn get(&self, id: JobId) -> JobRecord {
        job(self.run(self.store.get(id, &Access::All)).unwrap())
    }

    fn answer(&self, id: JobId, answers: &[(u32, &str)]) -> Answered {
        let answers = answers.iter().map(|(seq, text)| answer(*seq, text));
        self.answer_with(id, answers.collect())
    }

    fn answer_with(&self, id: JobId, answers: Vec<NewAnswer>) -> Answered {
        let now = Timestamp::now();
        self.run(self.store.answer(id, &Access::All, answers, ROOMY, now))
            .unwrap()
    }

    fn progress(&self, id: JobId) -> Option<ToolProgress> {
        self.run(self.store.progress(id)).unwrap()
    }

    /// Returns the texts of the parts.
    fn parts(&self, id: JobId) -> Vec<String> {
        let progress = self.progress(id).unwrap();
        let parts = progress.parts.into_iter();
        parts.map(|part| String::from_utf8(part).unwrap()).collect()
    }

    fn listed(&self, state: JobState) -> Vec<JobId> {
        let query = ListQuery {
            access: Access::All,
            state: Some(state),
            limit: 100,
            before: None,
        };
        let page = self.run(self.store.list(&query)).unwrap();
        page.jobs.iter().map(|job| job.id).collect()
    }

    fn rounds(&self) -> usize {
        self.runner.rounds.load(Ordering::SeqCst)
    }
}

fn job(found: Found) -> JobRecord {
    match found {
        Found::Job(job) => job,
        other => panic!("no job but {other:?}"),
    }
}

/// Returns a job with a tool.
fn new_job(client: &str) -> NewJob {
    let tools = Tools::new(vec![Tool::named(ToolName::parse("ask").unwrap())]).unwrap();
    let draft = ScriptDraft {
        code: Some("1".to_owned()),
        tools: Some(tools),
        ..ScriptDraft::default()
    };
    let client = ClientKey::new(client);
    let job = Job {
        script: Script::new(draft).unwrap(),
        owner: Owner::of_client(&client),
        client,
        ..samples::job("test", 1)
    };
    NewJob {
        job: Arc::new(job),
        created_at: Timestamp::now(),
        terms: JobTerms::default(),
        queue_place: QueuePlace::default(),
        tool_head: Some(b"{\"head\":0}".to_vec()),
    }
}

fn answer(seq: u32, text: &str) -> NewAnswer {
    let mut digest = [0; 32];
    for (place, byte) in (0_u8..).zip(text.bytes()) {
        digest[usize::from(place % 32)] ^= byte.wrapping_add(place);
    }
    NewAnswer {
        call_id: format!("call-{seq}"),
        answer: format!("\"{text}\"").into_bytes(),
        digest,
    }
}

fn offered(seq: u32) -> OfferedCall {
    OfferedCall {
        seq,
        call_id: format!("call-{seq}"),
        answer_until: None,
    }
}

fn ended(job: &Job, taken: Vec<u32>) -> Ran {
    let round = FinalRound {
        head: b"{\"head\":\"end\"}".to_vec(),
        part: Some(b"\"end\"".to_vec()),
        taken,
    };
    let execution = samples::success(job.id, 2);
    Ran::Ended(Arc::new(execution), Some(Arc::new(round)))
}

/// Takes all answers, and lists them in its part. After each round that took one, the next call is offered; after `calls`
/// answers the job ends. The head has the number of answers taken.
fn calls_one_after_the_other(calls: u32) -> impl Fn(&Job, &ToolProgress) -> Ran + Send + Sync {
    move |job, progress| {
        let before: u32 = match progress.rounds {
            0 => 0,
            _ => std::str::from_utf8(&progress.head)
                .unwrap()
                .parse()
                .unwrap(),
        };
        let taken: Vec<u32> = progress.inbox.iter().map(|answer| answer.seq).collect();
        let now = before + u32::try_from(taken.len()).unwrap();
        if now >= calls {
            return ended(job, taken);
        }
        let texts: Vec<&str> = (progress.inbox.iter())
            .map(|answer| std::str::from_utf8(&answer.answer).unwrap())
            .collect();
        let is_new = progress.rounds == 0 || now > before;
        Ran::Suspended(Arc::new(SuspendedRound {
            head: now.to_string().into_bytes(),
            part: Some(format!("[{}]", texts.join(",")).into_bytes()),
            taken,
            offered: is_new.then(|| offered(now)).into_iter().collect(),
            needs_reader: true,
            ..SuspendedRound::default()
        }))
    }
}

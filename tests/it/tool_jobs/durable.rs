//! Jobs with tools in a database: they survive the end of a process and of a node, and nobody else runs them.

use super::{Tested, calls_one_after_the_other, options};
use crate::stores::{Folder, Postgres};
use sandpiper_domain::{JobState, Timestamp};
use sandpiper_store::{Address, Answered, DataKeys, DurableOptions, DurableStore};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A database that outlives the stores on it.
enum Database {
    Sqlite(Folder),
    Postgres(Postgres),
}

impl Database {
    fn address(&self) -> Address {
        match self {
            Self::Sqlite(folder) => Address::Sqlite(folder.path("jobs.db")),
            Self::Postgres(postgres) => Address::Postgres(postgres.url()),
        }
    }

    fn open(&self, calls: u32) -> Tested {
        self.open_with(options(self.address()), calls)
    }

    fn open_with(&self, options: DurableOptions, calls: u32) -> Tested {
        let store = Arc::new(DurableStore::open(options).unwrap());
        Tested::of(store, calls_one_after_the_other(calls))
    }
}

fn over_each(promise: impl Fn(&Database)) {
    promise(&Database::Sqlite(Folder::new()));
    promise(&Database::Postgres(Postgres::start()));
}

#[test]
fn a_job_that_waits_survives_the_end_of_its_process() {
    over_each(|database| {
        let tested = database.open(2);
        let id = tested.submit();
        assert_eq!(tested.settled(id).state, JobState::Waiting);
        tested.run(tested.store.close());
        drop(tested);
        let tested = database.open(2);
        let job = tested.get(id);
        assert_eq!((job.state, job.rounds), (JobState::Waiting, Some(1)));
        assert_eq!(tested.answer(id, &[(0, "one")]), Answered::Taken);
        assert_eq!(tested.settled(id).state, JobState::Waiting);
        assert_eq!(tested.answer(id, &[(1, "two")]), Answered::Taken);
        assert_eq!(tested.settled(id).state, JobState::Finished);
        assert_eq!(tested.parts(id), ["[]", "[\"one\"]", "\"end\""]);
    });
}

#[test]
fn a_round_whose_node_died_is_run_again_from_the_last_commit_and_keeps_its_inbox() {
    over_each(|database| {
        let tested = database.open(2);
        let id = tested.submit();
        tested.settled(id);
        *tested.runner.takes.lock() = Duration::from_secs(3_600);
        assert_eq!(tested.answer(id, &[(0, "one")]), Answered::Taken);
        let start = Instant::now();
        while tested.get(id).state != JobState::Running {
            assert!(start.elapsed() < super::PATIENCE);
            std::thread::sleep(Duration::from_millis(10));
        }
        // As a crash ends it: nothing is requeued, and the heartbeats stop.
        drop(tested);
        let tested = database.open(2);
        let again = tested.settled(id);
        assert_eq!((again.state, again.rounds), (JobState::Waiting, Some(2)));
        // The attempt that died counts.
        assert_eq!(again.attempt, 2);
        assert_eq!(tested.parts(id), ["[]", "[\"one\"]"]);
        assert_eq!(tested.answer(id, &[(1, "two")]), Answered::Taken);
        let finished = tested.settled(id);
        assert_eq!((finished.state, finished.attempt), (JobState::Finished, 2));
    });
}

#[test]
fn a_job_that_waits_is_answered_and_waited_for_on_another_node() {
    let database = Database::Postgres(Postgres::start());
    let [first, second] = [database.open(1), database.open(1)];
    // Each node knows of the other after its next heartbeat.
    std::thread::sleep(Duration::from_millis(2_500));
    for _ in 0..5 {
        let id = first.submit();
        let start = Instant::now();
        assert_eq!(second.settled(id).state, JobState::Waiting);
        assert!(
            start.elapsed() < Duration::from_millis(900),
            "a notice wakes it"
        );
        let start = Instant::now();
        assert_eq!(second.answer(id, &[(0, "one")]), Answered::Taken);
        assert_eq!(first.settled(id).state, JobState::Finished);
        assert!(
            start.elapsed() < Duration::from_millis(900),
            "a notice wakes it"
        );
    }
}

#[test]
fn what_a_job_with_tools_stores_is_encrypted_and_lies_in_its_own_queue() {
    let postgres = Postgres::start();
    let key = DataKeys::generate().unwrap();
    let open = |address: Address| {
        let options = DurableOptions {
            data_keys: Some(Arc::new(key.parse().unwrap())),
            ..options(address)
        };
        let store = Arc::new(DurableStore::open(options).unwrap());
        Tested::of(store, |job, progress| match progress.inbox.len() {
            2 => super::ended(job, vec![0, 1]),
            _ => sandpiper_store::Ran::Suspended(Arc::new(sandpiper_store::SuspendedRound {
                head: b"\"secret head\"".to_vec(),
                part: Some(b"\"secret part\"".to_vec()),
                offered: vec![super::offered(0), super::offered(1)],
                needs_reader: true,
                ..Default::default()
            })),
        })
    };
    let tested = open(Address::Postgres(postgres.url()));
    let id = tested.submit();
    tested.settled(id);
    assert_eq!(tested.answer(id, &[(0, "secret")]), Answered::Taken);
    tested.settled(id);
    let ask = |question: &str| postgres.ask(question).unwrap();
    for column in [
        "head FROM sandpiper_tool_jobs",
        "part FROM sandpiper_rounds",
        "answer FROM sandpiper_calls WHERE seq = 0",
    ] {
        let stored = ask(&format!("SELECT {column} LIMIT 1"));
        assert!(stored.starts_with("sealed1."), "{column}: {stored}");
    }
    assert_eq!(
        ask("SELECT string_agg(DISTINCT queue, ' ') FROM river_job"),
        "sandpiper-tools"
    );
    // One row of River for the job, however many rounds it had.
    assert_eq!(ask("SELECT count(*) FROM river_job"), "1");
    let other = tested.answer(id, &[(0, "guess")]);
    assert_eq!(other, Answered::AlreadyAnswered(vec![0]));
    assert_eq!(tested.answer(id, &[(0, "secret")]), Answered::Taken);
    assert_eq!(tested.answer(id, &[(1, "two")]), Answered::Taken);
    assert_eq!(tested.settled(id).state, JobState::Finished);
    assert_eq!(
        String::from_utf8(tested.progress(id).unwrap().parts[0].clone()).unwrap(),
        "\"secret part\""
    );
}

#[test]
fn the_bytes_of_jobs_with_tools_are_those_of_their_rows() {
    let postgres = Postgres::start();
    let database = Database::Postgres(postgres);
    let tested = database.open(3);
    let Database::Postgres(postgres) = &database else {
        unreachable!()
    };
    let id = tested.submit();
    let check = || {
        let counted = postgres.ask(
            "SELECT t.bytes - octet_length(t.head) \
             - (SELECT coalesce(sum(octet_length(part)), 0) FROM sandpiper_rounds r WHERE r.job_id = t.job_id) \
             - (SELECT coalesce(sum(octet_length(answer)), 0) FROM sandpiper_calls c WHERE c.job_id = t.job_id) \
             FROM sandpiper_tool_jobs t",
        );
        assert_eq!(counted.unwrap(), "0");
        let account = postgres.ask(
            "SELECT (SELECT sum(bytes) FROM sandpiper_bytes) - (SELECT sum(octet_length(request) \
             + coalesce(octet_length(execution), 0)) FROM sandpiper_jobs) - (SELECT sum(bytes) FROM sandpiper_tool_jobs)",
        );
        assert_eq!(account.unwrap(), "0");
    };
    for (seq, text) in [(0, "one"), (1, "a longer one"), (2, "3")] {
        tested.settled(id);
        check();
        assert_eq!(tested.answer(id, &[(seq, text)]), Answered::Taken);
    }
    assert_eq!(tested.settled(id).state, JobState::Finished);
    check();
    tested
        .run(tested.store.sweep(Timestamp::now().plus(super::TTL * 2)))
        .unwrap();
    for table in ["sandpiper_tool_jobs", "sandpiper_rounds", "sandpiper_calls"] {
        let left = postgres.ask(&format!("SELECT count(*) FROM {table}"));
        assert_eq!(left.unwrap(), "0", "{table}");
    }
}

//! Clients that send requests one after the other, and record the responses.

use crate::http::Client;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub(crate) struct Load {
    is_over: Arc<AtomicBool>,
    progress: Arc<Progress>,
    clients: Vec<JoinHandle<Seen>>,
}

/// Responses so far.
#[derive(Debug, Default)]
struct Progress {
    accepted: AtomicUsize,
    executed: AtomicUsize,
}

/// The recorded responses.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Jobs that were accepted.
    pub(crate) accepted: Vec<String>,
    /// Number of responses by status.
    pub(crate) statuses: BTreeMap<u16, usize>,
    /// Number of requests without a response.
    pub(crate) unanswered: usize,
}

impl Load {
    /// Starts clients, each of which submits jobs and executes scripts in turn.
    pub(crate) fn start(client: &Client, clients: usize) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let progress = Arc::new(Progress::default());
        let clients = (0..clients)
            .map(|_| {
                let (client, is_over) = (client.clone(), Arc::clone(&is_over));
                let progress = Arc::clone(&progress);
                thread::spawn(move || ask(&client, &is_over, &progress))
            })
            .collect();
        Self {
            is_over,
            progress,
            clients,
        }
    }

    /// Waits until the load is under way: more than `count` jobs were accepted, and as many scripts executed. A busy machine
    /// takes its time.
    pub(crate) fn wait_for_more_than(&self, count: usize) {
        const WITHIN: Duration = Duration::from_secs(120);
        let begun = Instant::now();
        let is_more = |counter: &AtomicUsize| counter.load(Ordering::Relaxed) > count;
        while !(is_more(&self.progress.accepted) && is_more(&self.progress.executed)) {
            assert!(begun.elapsed() < WITHIN, "{:?}", self.progress);
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn stop(self) -> Seen {
        self.is_over.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for client in self.clients {
            let seen = client.join().unwrap();
            all.accepted.extend(seen.accepted);
            all.unanswered += seen.unanswered;
            for (status, count) in seen.statuses {
                *all.statuses.entry(status).or_default() += count;
            }
        }
        all
    }
}

impl Seen {
    /// Checks that no response is a fault; rejections are allowed.
    pub(crate) fn assert_honest(&self) {
        const HONEST: [u16; 5] = [200, 202, 429, 502, 503];
        let dishonest = self.statuses.keys().find(|status| !HONEST.contains(status));
        assert_eq!(dishonest, None, "{:?}", self.statuses);
    }
}

fn ask(client: &Client, is_over: &AtomicBool, progress: &Progress) -> Seen {
    let mut seen = Seen::default();
    for turn in 0_u64.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let is_job = turn.is_multiple_of(2);
        let path = if is_job { "/api/jobs" } else { "/api/execute" };
        let script = json!({"code": "let n = 0; for (let i = 0; i < 200000; i++) n += i; n"});
        match client.try_post(path, &script) {
            Some(answer) => {
                *seen.statuses.entry(answer.status).or_default() += 1;
                if answer.status == 200 {
                    progress.executed.fetch_add(1, Ordering::Relaxed);
                }
                if answer.status == 202 {
                    progress.accepted.fetch_add(1, Ordering::Relaxed);
                    let id = answer.json()["id"].as_str().unwrap().to_owned();
                    seen.accepted.push(id);
                }
                if matches!(answer.status, 429 | 502 | 503) {
                    thread::sleep(Duration::from_millis(20));
                }
            }
            None => {
                seen.unanswered += 1;
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
    seen
}

//! `GET /api/jobs/<id>/events`: what a job does and logs as it comes, as server-sent events.
//!
//! `state` has the job without its execution, `log` one entry of its log, `end` the job once it is final; then the stream
//! ends. An event's id says which attempt's log was told up to which entry, so that whoever comes again with
//! `Last-Event-ID` is told the rest.

use crate::actors::answers::{JobNow, News, Told};
use crate::http::Api;
use crate::http::client::client_of;
use crate::http::problem::{Code, Problem};
use crate::http::streams::OpenStream;
use crate::http::view::JobSummary;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Bytes, Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;
use sandpiper_domain::{Job, JobId, LogSoFar};
use serde::Serialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Between two signs of life, while nothing happens.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// When a client comes again whose stream broke off, milliseconds.
const COME_AGAIN_MS: u32 = 1_000;
/// Bytes of events that are handed over at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// What the job does and logs, as it comes.
#[utoipa::path(
    get,
    operation_id = "followJob", path = "/api/jobs/{id}/events",
    tag = "jobs",
    params(
        ("id" = String, Path, format = Uuid),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was told"),
    ),
    responses((
        status = 200,
        description = "Server-sent events: `state` and `end` with a job without its execution, `log` with one entry of its log",
        body = String,
        content_type = "text/event-stream"
    ))
)]
pub(super) async fn follow(
    api: Data<Api>,
    request: HttpRequest,
    path: Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = super::jobs::id_of(&path)?;
    let told = told_before(&request);
    let stream = api
        .streams
        .one_more(client_of(&api, &request))
        .map_err(|most| {
            Problem::new(
                Code::TooManyStreams,
                format!("{most} streams of events are open, and no more are granted; close one, or poll the job"),
            )
            .with("bound", most)
            .retry_after(HEARTBEAT_EVERY)
        })?;
    // What there is of it is told at once, and what there is not is refused as for every other path.
    let first = api.dispatcher.follow(id, told, Duration::ZERO).await?;
    let mut follower = Follower {
        ends_at: Instant::now() + api.bounds.events_for,
        api: api.clone(),
        id,
        told,
        ready: VecDeque::new(),
        has_ended: false,
        _stream: stream,
    };
    follower.say(&format!("retry: {COME_AGAIN_MS}\n\n"));
    follower.take(first)?;
    let events = stream::unfold(follower, |mut follower| async {
        let bytes = follower.next().await?;
        Some((Ok::<_, Infallible>(bytes), follower))
    });
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(events))
}

/// What the client says it was told before: `ATTEMPT-NUMBER` of the last entry.
fn told_before(request: &HttpRequest) -> Told {
    let last = request.headers().get("last-event-id");
    let last = last.and_then(|value| value.to_str().ok()?.split_once('-'));
    let parsed = last
        .and_then(|(attempt, number)| Some((attempt.parse().ok()?, number.parse::<u64>().ok()?)));
    match parsed {
        Some((attempt, number)) => Told {
            stands: None,
            attempt,
            next: number.saturating_add(1),
        },
        None => Told::default(),
    }
}

struct Follower {
    api: Data<Api>,
    id: JobId,
    told: Told,
    /// Events that are on their way.
    ready: VecDeque<String>,
    has_ended: bool,
    ends_at: Instant,
    _stream: OpenStream,
}

impl Follower {
    /// The next events as text; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        while self.ready.is_empty() {
            if self.has_ended || Instant::now() >= self.ends_at {
                return None;
            }
            let patience =
                HEARTBEAT_EVERY.min(self.ends_at.saturating_duration_since(Instant::now()));
            let news = self
                .api
                .dispatcher
                .follow(self.id, self.told, patience)
                .await;
            match news {
                Ok(news) => self.take(news).ok()?,
                // The client comes again, and is told what is wrong then.
                Err(_) => return None,
            }
        }
        self.ready.pop_front().map(Bytes::from)
    }

    fn take(&mut self, news: News) -> Result<(), Problem> {
        match news {
            News::Stands(now) => self.stands(&now),
            News::Logged(log) => self.logged(&log),
            News::Nothing => self.say(": nothing new\n\n"),
            News::Expired => return Err(Problem::job_expired()),
            News::Unknown => return Err(Problem::job_not_found()),
        }
        Ok(())
    }

    fn stands(&mut self, now: &JobNow) {
        let Job { state, attempt, .. } = now.job;
        self.told.stands = Some((state, attempt));
        if self.told.attempt != attempt {
            self.told.attempt = attempt;
            self.told.next = 0;
        }
        // A job that was followed from before has logged first and ended then.
        if state.is_final() {
            if let Some(log) = &now.log {
                self.logged(log);
            }
            self.event("end", None, &JobSummary::from(&now.job));
            self.has_ended = true;
        } else {
            self.event("state", None, &JobSummary::from(&now.job));
            if let Some(log) = &now.log {
                self.logged(log);
            }
        }
    }

    fn logged(&mut self, log: &LogSoFar) {
        for (number, entry) in &log.entries {
            let id = format!("{}-{number}", self.told.attempt);
            self.event("log", Some(&id), entry);
        }
        self.told.next = self.told.next.max(log.next);
    }

    fn event(&mut self, name: &str, id: Option<&str>, data: &impl Serialize) {
        // JSON in one line: what a script logs cannot end the line, and so not the event.
        let Ok(data) = serde_json::to_string(data) else {
            tracing::error!(job = %self.id, "an event could not be written");
            return;
        };
        let mut text = String::with_capacity(data.len() + 48);
        if let Some(id) = id {
            // Writing to memory cannot fail.
            let _ = writeln!(text, "id: {id}");
        }
        let _ = write!(text, "event: {name}\ndata: {data}\n\n");
        self.say(&text);
    }

    /// Appends to the last chunk while that is small.
    fn say(&mut self, text: &str) {
        if let Some(last) = self.ready.back_mut()
            && last.len() + text.len() <= CHUNK_BYTES
        {
            last.push_str(text);
            return;
        }
        self.ready.push_back(text.to_owned());
    }
}

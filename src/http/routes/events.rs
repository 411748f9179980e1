//! `GET /api/jobs/<id>/events`: the state changes and log entries of a job as they happen, as server-sent events.
//!
//! `state` has the job without its execution, `log` has one log entry, and `end` has the final job; then the stream
//! ends. An event's id names an attempt and the last log entry sent, so that a client that reconnects with
//! `Last-Event-ID` receives the rest.
//!
//! A job with tools has `call` and `answer` too. Its events come once their round is committed, and their ids are those of
//! [`crate::tool_runs::EventPosition`]: the same in every attempt and on every node.

use crate::actors::types::{Cursor, JobSnapshot, JobUpdate};
use crate::http::Api;
use crate::http::caller::Caller;
use crate::http::calls_view::{AnswerView, CallView, ReportedCall};
use crate::http::problem::{Code, Problem};
use crate::http::streams::OpenStream;
use crate::http::view::JobSummary;
use crate::tool_runs::JobEvent;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Bytes, Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;
use sandpiper_domain::{Access, JobId, JobRecord, LogSoFar};
use serde::Serialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Time between two keep-alive comments while nothing happens.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// Time between two checks whether the caller may still see the job: it may move to another tenant.
const ACCESS_CHECKED_EVERY: Duration = Duration::from_secs(1);
/// Time after which a client should reconnect when its stream broke off, milliseconds.
const RECONNECT_MS: u32 = 1_000;
/// Maximum bytes of events in one chunk of the response.
const CHUNK_BYTES: usize = 64 * 1024;

/// Follow a job
#[utoipa::path(
    get,
    operation_id = "followJob", path = "/api/jobs/{id}/events",
    tag = "jobs",
    params(
        ("id" = String, Path, format = Uuid, description = "ID of the job"),
        ("Last-Event-ID" = Option<String>, Header, description = "ID of the last event received"),
    ),
    responses((
        status = 200,
        description = "Server-sent events: `state` and `end` with a job without its execution, `log` with one entry of its log, `call` and `answer` of a job with tools",
        body = serde_json::Value,
        content_type = "text/event-stream"
    ))
)]
pub(super) async fn follow(
    api: Data<Api>,
    caller: Caller,
    request: HttpRequest,
    path: Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = super::jobs::id_of(&path)?;
    let cursor = cursor_of(&request);
    let stream = api
        .streams
        .try_open(caller.client)
        .map_err(|limit| {
            Problem::new(
                Code::TooManyStreams,
                format!("{limit} streams of events are open, and no more are granted; close one, or poll the job"),
            )
            .with("bound", limit)
            .retry_after(HEARTBEAT_EVERY)
        })?;
    // Events that exist are sent at once. An unknown job is an error response, as on every other path.
    let first = api
        .dispatcher
        .follow(id, &caller.access, cursor, Duration::ZERO)
        .await?;
    let now = Instant::now();
    let mut follower = Follower {
        ends_at: now + api.bounds.events_for,
        checked_at: now,
        api: api.clone(),
        access: caller.access,
        id,
        cursor,
        unsent: VecDeque::new(),
        has_ended: false,
        _stream: stream,
    };
    follower.push_text(&format!("retry: {RECONNECT_MS}\n\n"));
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

/// Parses the id of the last event that the client received: `ATTEMPT-NUMBER`, or the position of a job with tools.
fn cursor_of(request: &HttpRequest) -> Cursor {
    let last = request.headers().get("last-event-id");
    let last = last.and_then(|value| value.to_str().ok());
    if let Some(events) = last.and_then(|text| text.parse().ok()) {
        return Cursor {
            events,
            ..Cursor::default()
        };
    }
    let parsed = last
        .and_then(|text| text.split_once('-'))
        .and_then(|(attempt, number)| Some((attempt.parse().ok()?, number.parse::<u64>().ok()?)));
    match parsed {
        Some((attempt, number)) => Cursor {
            state: None,
            attempt,
            next: number.saturating_add(1),
            ..Cursor::default()
        },
        None => Cursor::default(),
    }
}

struct Follower {
    api: Data<Api>,
    access: Access,
    id: JobId,
    cursor: Cursor,
    /// Events that are not sent yet.
    unsent: VecDeque<String>,
    has_ended: bool,
    ends_at: Instant,
    /// The moment of the last check that the caller may see the job.
    checked_at: Instant,
    _stream: OpenStream,
}

impl Follower {
    /// Returns the next events as text, or `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        while self.unsent.is_empty() {
            if self.has_ended || Instant::now() >= self.ends_at {
                return None;
            }
            if self.checked_at.elapsed() >= ACCESS_CHECKED_EVERY {
                self.checked_at = Instant::now();
                if !self.api.dispatcher.may_follow(self.id, &self.access).await {
                    return None;
                }
            }
            let timeout =
                HEARTBEAT_EVERY.min(self.ends_at.saturating_duration_since(Instant::now()));
            let update = self
                .api
                .dispatcher
                .follow(self.id, &self.access, self.cursor, timeout)
                .await;
            match update {
                Ok(update) => self.take(update).ok()?,
                // The client reconnects, and gets the error response then.
                Err(_) => return None,
            }
        }
        self.unsent.pop_front().map(Bytes::from)
    }

    fn take(&mut self, update: JobUpdate) -> Result<(), Problem> {
        match update {
            JobUpdate::Changed(now) => self.push_state(&now),
            JobUpdate::Logged(log) => self.push_log(&log),
            JobUpdate::Committed(now) => self.push_rounds(&now),
            JobUpdate::Unchanged => self.push_text(": nothing new\n\n"),
            JobUpdate::Expired => return Err(Problem::job_expired()),
            JobUpdate::Unknown => return Err(Problem::job_not_found()),
        }
        Ok(())
    }

    fn push_state(&mut self, now: &JobSnapshot) {
        let JobRecord { state, attempt, .. } = now.job;
        self.cursor.state = Some((state, attempt));
        if self.cursor.attempt != attempt {
            self.cursor.attempt = attempt;
            self.cursor.next = 0;
        }
        // A job that was followed before it ended has logged first and ended then.
        if state.is_final() {
            self.push_rest(now);
            self.push_event("end", None, &JobSummary::from(&now.job));
            self.has_ended = true;
        } else {
            self.push_event("state", None, &JobSummary::from(&now.job));
            self.push_rest(now);
        }
    }

    /// Appends the log beyond the cursor; of a job with tools the events of its rounds.
    fn push_rest(&mut self, now: &JobSnapshot) {
        match &now.log {
            _ if now.tools.is_some() => self.push_rounds(now),
            Some(log) => self.push_log(log),
            None => {}
        }
    }

    fn push_rounds(&mut self, now: &JobSnapshot) {
        let Some(run) = &now.tools else { return };
        let is_final = now.job.state.is_final();
        // The log of a round that runs comes once the round is committed.
        let log = match &now.job.execution {
            Some(execution) => execution.log_since(0),
            None => run.log_with(LogSoFar::default()),
        };
        let since = self.cursor.events;
        for (position, event) in run.events(&log, since) {
            let id = position.to_string();
            match event {
                JobEvent::Log(entry) => self.push_event("log", Some(&id), entry),
                JobEvent::Call(call) => {
                    let call = ReportedCall::now(&run.run, call, is_final);
                    self.push_event("call", Some(&id), &CallView::from(&call));
                }
                JobEvent::Answer { seq, at_ms, result } => {
                    let answer = AnswerView::new(&run.run, seq, at_ms, result);
                    self.push_event("answer", Some(&id), &answer);
                }
            }
            self.cursor.events = position.beyond(self.cursor.events);
        }
        self.cursor.rounds = now.job.rounds;
    }

    fn push_log(&mut self, log: &LogSoFar) {
        for (number, entry) in &log.entries {
            let id = format!("{}-{number}", self.cursor.attempt);
            self.push_event("log", Some(&id), entry);
        }
        self.cursor.next = self.cursor.next.max(log.next);
    }

    fn push_event(&mut self, name: &str, id: Option<&str>, data: &impl Serialize) {
        // JSON in one line: a script's log cannot end the line, and so not the event.
        let Ok(data) = serde_json::to_string(data) else {
            tracing::error!(job = %self.id, "an event of the job could not be written as JSON; the stream goes on without the event");
            return;
        };
        let mut text = String::with_capacity(data.len() + 48);
        if let Some(id) = id {
            // Writing to memory cannot fail.
            let _ = writeln!(text, "id: {id}");
        }
        let _ = write!(text, "event: {name}\ndata: {data}\n\n");
        self.push_text(&text);
    }

    /// Appends the text to the last chunk while that chunk is small.
    fn push_text(&mut self, text: &str) {
        if let Some(last) = self.unsent.back_mut()
            && last.len() + text.len() <= CHUNK_BYTES
        {
            last.push_str(text);
            return;
        }
        self.unsent.push_back(text.to_owned());
    }
}

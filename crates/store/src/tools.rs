//! Jobs with tools: what a store keeps between the rounds of such a job.
//!
//! A store looks into no round: heads, parts and answers are JSON of the service. It knows which calls are open, which
//! answers arrived, and when the job goes on.

use sandpiper_domain::{Execution, JobState, Timestamp};
use std::sync::Arc;

/// The digest of an answer in its RFC 8785 form: two answers with one digest are the same.
pub type AnswerDigest = [u8; 32];

/// The stored state of a job with tools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolProgress {
    /// Replaced by each round.
    pub head: Vec<u8>,
    /// One part of each committed round that left one, oldest first.
    pub parts: Vec<Vec<u8>>,
    /// The number of committed rounds.
    pub rounds: u32,
    /// The number of answers that had arrived when this was read, in all rounds.
    pub arrivals: u64,
    /// Answers that arrived and that no committed round has taken, by arrival.
    pub inbox: Vec<InboxAnswer>,
}

/// An answer that no committed round has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxAnswer {
    pub seq: u32,
    pub arrived_ms: u64,
    pub answer: Vec<u8>,
}

/// The commit of a round that suspended: in one transaction, if its attempt still owns the job.
#[derive(Debug, Clone, Default)]
pub struct SuspendedRound {
    pub head: Vec<u8>,
    /// `None` if the round has nothing to add.
    pub part: Option<Vec<u8>>,
    /// Calls whose answer this round has taken: it leaves the inbox, and its digest is kept.
    pub taken: Vec<u32>,
    /// Calls that can be answered from now on.
    pub offered: Vec<OfferedCall>,
    /// Calls that can no longer be answered. An answer to one of them leaves the inbox.
    pub timed_out: Vec<u32>,
    /// The moment at which the job goes on without an answer; `None` if it waits for answers alone.
    pub resume_at: Option<Timestamp>,
    /// True if the job waits for answers of its reader, and not for a timer alone.
    pub needs_reader: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedCall {
    pub seq: u32,
    pub call_id: String,
    /// The moment from which on an answer comes too late; `None` for never.
    pub answer_until: Option<Timestamp>,
}

/// The commit of the last round of a job, together with the final state.
#[derive(Debug, Clone, Default)]
pub struct FinalRound {
    pub head: Vec<u8>,
    /// `None` if the round has nothing to add.
    pub part: Option<Vec<u8>>,
    /// Calls whose answer this round has taken.
    pub taken: Vec<u32>,
}

/// The result of the commit of a suspended round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// The job waits for an answer, or for its moment.
    Waits,
    /// The job goes on at once: an answer arrived during the round.
    Due,
    /// The job was cancelled during the round, and has its final state.
    Cancelled,
    /// The commit is rejected: another attempt owns the job, the job has a final state, or is gone.
    Stale,
}

/// The end of a run.
#[derive(Debug, Clone)]
pub enum Ran {
    /// The job has ended. The second value exists for a job with tools.
    Ended(Arc<Execution>, Option<Arc<FinalRound>>),
    /// The job waits.
    Suspended(Arc<SuspendedRound>),
}

/// An answer to a call, as a request brings it.
#[derive(Debug, Clone)]
pub struct NewAnswer {
    pub call_id: String,
    pub answer: Vec<u8>,
    pub digest: AnswerDigest,
}

/// The fate of the answers of one request: all of them are taken, or none. Numbers are indexes into the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// Taken, or the same as answers that were taken before.
    Taken,
    /// These calls have another answer.
    AlreadyAnswered(Vec<usize>),
    /// These calls timed out.
    TimedOut(Vec<usize>),
    /// The job has offered no such call.
    UnknownCalls(Vec<usize>),
    /// The inbox has no room for these answers.
    NoRoom(Vec<usize>),
    /// The job has its final state.
    Final(JobState),
    /// The job has no tools.
    NoTools,
    Expired,
    /// There was no such job, it has expired long ago, or the caller may not see it.
    Unknown,
}

/// A call that was offered, as far as an answer to the call is checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownCall {
    pub(crate) seq: u32,
    /// True if the call has the same answer, false if it has another; `None` if it has none.
    pub(crate) is_same: Option<bool>,
    /// True if an answer would come too late.
    pub(crate) is_late: bool,
}

/// Returns the indexes of those `answers` that are new, or why none of them is taken. `calls` are the calls of the answers;
/// `inbox_bytes` are the bytes in the inbox, which may have `inbox_bytes_max`.
pub(crate) fn check_answers(
    answers: &[NewAnswer],
    calls: &[Option<KnownCall>],
    inbox_bytes: u64,
    inbox_bytes_max: u64,
) -> Result<Vec<usize>, Answered> {
    let (mut new, mut unknown, mut other, mut late, mut without_room) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut bytes = inbox_bytes;
    for (index, (answer, call)) in answers.iter().zip(calls).enumerate() {
        let Some(call) = call else {
            unknown.push(index);
            continue;
        };
        match call.is_same {
            Some(true) => {}
            Some(false) => other.push(index),
            None if call.is_late => late.push(index),
            None => {
                let more = u64::try_from(answer.answer.len()).unwrap_or(u64::MAX);
                if bytes.saturating_add(more) > inbox_bytes_max {
                    without_room.push(index);
                } else {
                    bytes += more;
                    new.push(index);
                }
            }
        }
    }
    for (indexes, answered) in [
        (unknown, Answered::UnknownCalls as fn(_) -> _),
        (other, Answered::AlreadyAnswered),
        (late, Answered::TimedOut),
        (without_room, Answered::NoRoom),
    ] {
        if !indexes.is_empty() {
            return Err(answered(indexes));
        }
    }
    Ok(new)
}

/// A job with tools, found for its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundHead {
    Head(Vec<u8>),
    /// The job has no tools.
    NoTools,
    Expired,
    /// There was no such job, it has expired long ago, or the caller may not see it.
    Unknown,
}

/// Bounds of the jobs of one client that have suspended and have not ended. A submit beyond them is rejected; a job that
/// was accepted goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingBounds {
    pub jobs_max: usize,
    /// Most bytes of what these jobs have stored.
    pub bytes_max: u64,
}

impl WaitingBounds {
    pub const DEFAULT: Self = Self {
        jobs_max: 10_000,
        bytes_max: 256 << 20,
    };
}

//! The answers to calls of a job: checked like those of `POST /api/execute`, and taken by the store.

use super::answers::{Contradictions, checked, is_same, twice, unknown_call};
use crate::actors::types::Lookup;
use crate::http::Api;
use crate::http::problem::{Code, Problem};
use crate::http::request::Answer;
use crate::tool_runs::{JobRun, tool_limits_of};
use sandpiper_domain::tools::{CallResult, Refusal, ToolLimits, sorted_json};
use sandpiper_domain::{Access, JobId, JobState};
use sandpiper_store::{AnswerDigest, Answered, FoundHead, NewAnswer};
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use tracing::error;

/// Bytes of an answer in the store in addition to its result, which `logBytes` bounds.
const ANSWER_OVERHEAD_BYTES: u64 = 512;

/// An answer of a request that was checked.
struct Checked {
    call_id: String,
    result: CallResult,
}

/// Gives answers to calls of a job. All of them are taken, or none. The same answer again is no error, also when the job has
/// ended meanwhile.
pub(in crate::http) async fn give(
    api: &Api,
    id: JobId,
    access: &Access,
    answers: Vec<Answer>,
) -> Result<(), Problem> {
    let limits = limits_of(api, id, access).await?;
    let answers = check_all(answers, &limits)?;
    let overhead = u64::from(limits.calls_max) * ANSWER_OVERHEAD_BYTES;
    let bytes_max = u64::from(limits.log_bytes) + overhead;
    let new = answers
        .iter()
        .map(|answer| new_answer(answer, &answer.result));
    let mut answered = api
        .dispatcher
        .answer(id, access, new.collect(), bytes_max)
        .await?;
    if let Answered::NoRoom(indexes) = &answered {
        let full = CallResult::Failed(Refusal::LogFull.failure());
        let new = answers.iter().enumerate().map(|(index, answer)| {
            let has_room = !indexes.contains(&index);
            new_answer(answer, if has_room { &answer.result } else { &full })
        });
        let new = new.collect();
        answered = api.dispatcher.answer(id, access, new, u64::MAX).await?;
    }
    let call_ids = |indexes: &[usize]| {
        let answers = indexes.iter().filter_map(|index| answers.get(*index));
        answers.map(|answer| answer.call_id.clone()).collect()
    };
    match answered {
        Answered::Taken | Answered::NoRoom(_) => Ok(()),
        Answered::AlreadyAnswered(indexes) => Contradictions {
            answered: call_ids(&indexes),
            timed_out: Vec::new(),
        }
        .check(),
        Answered::TimedOut(indexes) => Contradictions {
            answered: Vec::new(),
            timed_out: call_ids(&indexes),
        }
        .check(),
        Answered::UnknownCalls(indexes) => {
            let index = indexes.first().copied().unwrap_or_default();
            let call_id = answers.get(index).map_or("", |answer| &answer.call_id);
            Err(unknown_call(index, call_id))
        }
        Answered::Final(state) => check_final(api, id, access, state, &answers).await,
        Answered::NoTools => Err(not_answerable()),
        Answered::Expired => Err(Problem::job_expired()),
        Answered::Unknown => Err(Problem::job_not_found()),
    }
}

/// Returns the limits of the answers to calls of a job.
async fn limits_of(api: &Api, id: JobId, access: &Access) -> Result<ToolLimits, Problem> {
    match api.dispatcher.tool_head(id, access).await? {
        FoundHead::Head(head) => tool_limits_of(&head).map_err(|cause| {
            error!(
                %cause, job = %id,
                "the answers to calls of a job were refused: check whether a newer version of the service has run it"
            );
            Problem::new(
                Code::Internal,
                "the service failed to read the job; the log has the reason under this request's X-Request-ID",
            )
        }),
        FoundHead::NoTools => Err(not_answerable()),
        FoundHead::Expired => Err(Problem::job_expired()),
        FoundHead::Unknown => Err(Problem::job_not_found()),
    }
}

fn not_answerable() -> Problem {
    Problem::new(
        Code::NotAnswerable,
        "this job has no tools, so nobody can answer its calls",
    )
}

fn check_all(answers: Vec<Answer>, limits: &ToolLimits) -> Result<Vec<Checked>, Problem> {
    let mut seen = HashSet::new();
    let checked = answers.into_iter().enumerate().map(|(index, answer)| {
        let call_id = answer.call_id.clone();
        if !seen.insert(call_id.clone()) {
            return Err(twice(index));
        }
        let result = checked(index, answer, limits)?;
        Ok(Checked { call_id, result })
    });
    checked.collect()
}

/// Returns the answer with this result for the store. The digest is that of the answer as it was given.
fn new_answer(answer: &Checked, result: &CallResult) -> NewAnswer {
    NewAnswer {
        call_id: answer.call_id.clone(),
        // Strings and numbers: writing them to memory cannot fail.
        answer: serde_json::to_vec(result).unwrap_or_default(),
        digest: digest(answer),
    }
}

/// Returns the digest by which a repeated answer is recognized: it covers the value, and not its spelling.
fn digest(answer: &Checked) -> AnswerDigest {
    let (kind, text) = match &answer.result {
        CallResult::Value(value) => ("value", sorted_json(value.as_str()).unwrap_or_default()),
        CallResult::Failed(failure) => {
            ("failed", serde_json::to_string(failure).unwrap_or_default())
        }
    };
    Sha256::new()
        .chain_update(&answer.call_id)
        .chain_update(kind)
        .chain_update(text)
        .finalize()
        .into()
}

/// Lets the answers through if a job that has ended had the same ones: their sender repeats a request.
async fn check_final(
    api: &Api,
    id: JobId,
    access: &Access,
    state: JobState,
    answers: &[Checked],
) -> Result<(), Problem> {
    let now = match api.dispatcher.get(id, access).await? {
        Lookup::Found(now) => now,
        Lookup::Expired => return Err(Problem::job_expired()),
        Lookup::Unknown => return Err(Problem::job_not_found()),
    };
    let has_all = |run: &JobRun| answers.iter().all(|answer| has(run, answer));
    if now.tools.is_some_and(|run| has_all(&run)) {
        return Ok(());
    }
    let detail = format!("the job is {}, and takes no more answers", state.as_str());
    Err(Problem::new(Code::JobAlreadyFinal, detail).with("state", state.as_str()))
}

fn has(run: &JobRun, answer: &Checked) -> bool {
    let mut calls = run.run.log.calls().iter();
    let call = calls.find(|call| run.run.state.call_id(call.seq) == answer.call_id);
    let taken = call.and_then(|call| run.run.log.answer(call.seq));
    taken.is_some_and(|taken| is_same(taken, &answer.result))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandpiper_domain::JsonText;

    fn value(call_id: &str, text: &str) -> Checked {
        Checked {
            call_id: call_id.to_owned(),
            result: CallResult::Value(JsonText::parse(text.to_owned()).unwrap()),
        }
    }

    #[test]
    fn the_digest_of_an_answer_is_that_of_its_value() {
        let first = digest(&value("a", r#"{"x":1,"y":[2]}"#));
        assert_eq!(first, digest(&value("a", r#"{ "y": [2.0], "x": 1 }"#)));
        let failure = |message: &str| {
            let mut failure = Refusal::LogFull.failure();
            message.clone_into(&mut failure.message);
            Checked {
                call_id: "a".to_owned(),
                result: CallResult::Failed(failure),
            }
        };
        let all = [
            first,
            digest(&value("a", r#"{"x":1,"y":[3]}"#)),
            digest(&value("b", r#"{"x":1,"y":[2]}"#)),
            digest(&failure("x")),
            digest(&failure("y")),
        ];
        let distinct: HashSet<AnswerDigest> = all.into_iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}

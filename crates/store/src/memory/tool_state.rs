//! The progress of a job with tools in memory.

use crate::tools::{
    AnswerDigest, Answered, FinalRound, InboxAnswer, KnownCall, NewAnswer, OfferedCall,
    SuspendedRound, ToolProgress, check_answers,
};
use sandpiper_domain::Timestamp;
use std::collections::{BTreeMap, HashMap};

#[derive(Debug)]
pub(super) struct ToolState {
    head: Vec<u8>,
    parts: Vec<Vec<u8>>,
    rounds: u32,
    /// Answers that arrived, in all rounds.
    arrivals: u64,
    calls: BTreeMap<u32, OpenCall>,
    seqs: HashMap<String, u32>,
    /// True if the last round waits for answers of its reader.
    needs_reader: bool,
}

/// A call that was offered.
#[derive(Debug)]
struct OpenCall {
    answer_until: Option<Timestamp>,
    /// True once a round has timed the call out.
    is_over: bool,
    digest: Option<AnswerDigest>,
    inbox: Option<Arrival>,
}

/// An answer in the inbox.
#[derive(Debug)]
struct Arrival {
    /// The number of the answer, from 1.
    number: u64,
    arrived_ms: u64,
    answer: Vec<u8>,
}

impl OpenCall {
    /// Most bytes of a call beside its id and its answer, approximately.
    const BYTES: usize = 2 * size_of::<Self>() + 2 * size_of::<(String, u32)>();

    fn is_late(&self, now: Timestamp) -> bool {
        self.is_over || self.answer_until.is_some_and(|until| until <= now)
    }

    fn inbox_bytes(&self) -> usize {
        let inbox = self.inbox.as_ref();
        inbox.map_or(0, |arrival| arrival.answer.len())
    }
}

impl ToolState {
    pub(super) fn new(head: Vec<u8>) -> Self {
        Self {
            head,
            parts: Vec::new(),
            rounds: 0,
            arrivals: 0,
            calls: BTreeMap::new(),
            seqs: HashMap::new(),
            needs_reader: false,
        }
    }

    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    pub(super) fn rounds(&self) -> u32 {
        self.rounds
    }

    pub(super) fn arrivals(&self) -> u64 {
        self.arrivals
    }

    pub(super) fn needs_reader(&self) -> bool {
        self.needs_reader
    }

    pub(super) fn bytes(&self) -> usize {
        let parts: usize = self.parts.iter().map(Vec::len).sum();
        let answers: usize = self.calls.values().map(OpenCall::inbox_bytes).sum();
        let ids: usize = self.seqs.keys().map(String::len).sum();
        size_of::<Self>()
            + self.head.len()
            + parts
            + answers
            + ids
            + self.calls.len() * OpenCall::BYTES
    }

    pub(super) fn progress(&self) -> ToolProgress {
        let mut inbox: Vec<(u64, InboxAnswer)> = Vec::new();
        for (seq, call) in &self.calls {
            if let Some(arrival) = &call.inbox {
                let answer = InboxAnswer {
                    seq: *seq,
                    arrived_ms: arrival.arrived_ms,
                    answer: arrival.answer.clone(),
                };
                inbox.push((arrival.number, answer));
            }
        }
        inbox.sort_by_key(|(number, _)| *number);
        ToolProgress {
            head: self.head.clone(),
            parts: self.parts.clone(),
            rounds: self.rounds,
            arrivals: self.arrivals,
            inbox: inbox.into_iter().map(|(_, answer)| answer).collect(),
        }
    }

    /// Commits a round that suspended, and that knew the first `arrivals` answers. Returns whether the inbox has an answer
    /// that the round did not know.
    pub(super) fn suspend(&mut self, round: &SuspendedRound, arrivals: u64) -> bool {
        self.commit(&round.head, round.part.as_deref(), &round.taken);
        for seq in &round.timed_out {
            if let Some(call) = self.calls.get_mut(seq) {
                call.is_over = true;
                call.inbox = None;
            }
        }
        for OfferedCall {
            seq,
            call_id,
            answer_until,
        } in &round.offered
        {
            let call = OpenCall {
                answer_until: *answer_until,
                is_over: false,
                digest: None,
                inbox: None,
            };
            self.calls.entry(*seq).or_insert(call);
            self.seqs.insert(call_id.clone(), *seq);
        }
        self.needs_reader = round.needs_reader;
        let mut inbox = self.calls.values().filter_map(|call| call.inbox.as_ref());
        inbox.any(|arrival| arrival.number > arrivals)
    }

    /// Commits the last round.
    pub(super) fn finish(&mut self, round: &FinalRound) {
        self.commit(&round.head, round.part.as_deref(), &round.taken);
    }

    fn commit(&mut self, head: &[u8], part: Option<&[u8]>, taken: &[u32]) {
        self.head = head.to_vec();
        self.parts.extend(part.map(<[u8]>::to_vec));
        self.rounds += 1;
        for seq in taken {
            if let Some(call) = self.calls.get_mut(seq) {
                call.inbox = None;
            }
        }
    }

    /// Takes all answers, or none.
    pub(super) fn answer(
        &mut self,
        answers: Vec<NewAnswer>,
        inbox_bytes_max: u64,
        now: Timestamp,
    ) -> Answered {
        let find = |answer: &NewAnswer| {
            let seq = *self.seqs.get(&answer.call_id)?;
            let call = self.calls.get(&seq)?;
            Some(KnownCall {
                seq,
                is_same: call.digest.map(|digest| digest == answer.digest),
                is_late: call.is_late(now),
            })
        };
        let known: Vec<Option<KnownCall>> = answers.iter().map(find).collect();
        let stored: usize = self.calls.values().map(OpenCall::inbox_bytes).sum();
        let stored = u64::try_from(stored).unwrap_or(u64::MAX);
        let new = match check_answers(&answers, &known, stored, inbox_bytes_max) {
            Ok(new) => new,
            Err(answered) => return answered,
        };
        for (index, (answer, call)) in answers.into_iter().zip(known).enumerate() {
            let call = call.filter(|_| new.contains(&index));
            let Some(call) = call.and_then(|call| self.calls.get_mut(&call.seq)) else {
                continue;
            };
            self.arrivals += 1;
            call.digest = Some(answer.digest);
            call.inbox = Some(Arrival {
                number: self.arrivals,
                arrived_ms: now.as_unix_millis(),
                answer: answer.answer,
            });
        }
        Answered::Taken
    }
}

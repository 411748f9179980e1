//! The shell round the plain methods: one handler a message.

use super::messages::{
    Cancel, CheckNetwork, Drain, RunClaimed, RunNow, StopAll, Submit, WhereIs, Whereabouts,
};
use super::pending::{Audience, Changes, Pending, refuse};
use super::{Dispatcher, RETRY_AFTER_MIN};
use crate::actors::answers::{Accepted, Refusal};
use crate::actors::runner::Task;
use crate::store::{NewJob, NotRun, StoreError};
use actix::{ActorFutureExt, Handler, ResponseActFuture, WrapFuture};
use sandpiper_domain::{ClientKey, JobId, Lane, Timestamp};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

impl Handler<RunNow> for Dispatcher {
    type Result = ();

    fn handle(&mut self, message: RunNow, context: &mut Self::Context) {
        let RunNow { submission, reply } = message;
        let bytes = submission.script.size_bytes();
        let pending = Pending {
            task: Task::Script(submission.script, submission.limits),
            trace: submission.trace,
            attempt: 0,
            audience: Audience::Caller(reply),
            changes: Changes::default(),
        };
        self.admit(
            Lane::Interactive,
            submission.id,
            submission.client,
            bytes,
            pending,
        );
        self.hand_out(context);
    }
}

impl Handler<RunClaimed> for Dispatcher {
    type Result = ();

    fn handle(&mut self, message: RunClaimed, context: &mut Self::Context) {
        let RunClaimed { submission, reply } = message;
        if self.whereabouts(submission.id).is_some() {
            // An attempt that the store has given up meanwhile is here still.
            let _ = reply.send(Err(NotRun::Busy));
            return;
        }
        let bytes = submission.script.size_bytes();
        let pending = Pending {
            task: Task::Script(submission.script, submission.limits),
            trace: submission.trace,
            attempt: 0,
            audience: Audience::Claimant(reply),
            changes: Changes::default(),
        };
        self.admit(
            Lane::Background,
            submission.id,
            submission.client,
            bytes,
            pending,
        );
        self.hand_out(context);
    }
}

impl Handler<CheckNetwork> for Dispatcher {
    type Result = ();

    fn handle(&mut self, message: CheckNetwork, context: &mut Self::Context) {
        let pending = Pending {
            task: Task::NetCheck(message.host, message.port, message.limits),
            trace: None,
            attempt: 0,
            audience: Audience::NetCheck(message.reply),
            changes: Changes::default(),
        };
        let (id, client) = (JobId::generate(), ClientKey::new("netcheck"));
        self.admit(Lane::Interactive, id, client, 0, pending);
        self.hand_out(context);
    }
}

impl Handler<Submit> for Dispatcher {
    type Result = ResponseActFuture<Self, Result<Accepted, Refusal>>;

    fn handle(&mut self, message: Submit, _: &mut Self::Context) -> Self::Result {
        let Submit { submission, terms } = message;
        if terms.needs_database() && !self.store.keeps_terms() {
            return Box::pin(actix::fut::ready(Err(Refusal::NeedsDatabase)));
        }
        if self.draining {
            return Box::pin(actix::fut::ready(Err(Refusal::Draining)));
        }
        let bytes = submission.script.size_bytes();
        let Ok(place) = self.queue.reserve(Lane::Background, bytes) else {
            self.board.meters.queue_full.of(Lane::Background).count();
            let retry_after = self.retry_after(Lane::Background);
            return Box::pin(actix::fut::ready(Err(Refusal::QueueFull { retry_after })));
        };
        let new = NewJob {
            id: submission.id,
            created_at: Timestamp::now(),
            script: Arc::clone(&submission.script),
            limits: submission.limits,
            client: submission.client.clone(),
            trace: submission.trace.clone(),
            terms,
        };
        let store = Arc::clone(&self.store);
        let accepted = async move { store.submit(new).await };
        Box::pin(
            accepted
                .into_actor(self)
                .map(move |accepted, act, context| match accepted {
                    Ok(accepted) if accepted.is_replay || act.store.hands_out() => {
                        // It is here already, or comes back when the store says that it is its turn.
                        act.queue.release(place);
                        if !accepted.is_replay {
                            act.have_more_handed_out(&submission.client);
                        }
                        Ok(accepted)
                    }
                    Ok(accepted) => {
                        let pending = Pending {
                            task: Task::Script(submission.script, submission.limits),
                            trace: submission.trace,
                            attempt: 0,
                            audience: Audience::Store,
                            changes: Changes::default(),
                        };
                        let (id, client) = (submission.id, submission.client);
                        act.enqueue(place, id, client, pending);
                        act.hand_out(context);
                        Ok(accepted)
                    }
                    Err(StoreError::Full { retry_after }) => {
                        act.queue.release(place);
                        let retry_after = retry_after.max(RETRY_AFTER_MIN);
                        Err(Refusal::StoreFull { retry_after })
                    }
                    Err(StoreError::ClientFull { most }) => {
                        act.queue.release(place);
                        let retry_after = act.retry_after(Lane::Background);
                        Err(Refusal::ClientFull { most, retry_after })
                    }
                    Err(StoreError::ClientBytesFull { most, retry_after }) => {
                        act.queue.release(place);
                        let retry_after = retry_after.max(RETRY_AFTER_MIN);
                        Err(Refusal::ClientBytesFull { most, retry_after })
                    }
                    Err(StoreError::KeyReused) => {
                        act.queue.release(place);
                        Err(Refusal::KeyReused)
                    }
                    Err(StoreError::KeyExpired) => {
                        act.queue.release(place);
                        Err(Refusal::KeyExpired)
                    }
                    Err(failure @ (StoreError::Unavailable(_) | StoreError::Unreadable(_))) => {
                        act.queue.release(place);
                        act.count_failure(Some(failure));
                        Err(Refusal::StoreUnavailable)
                    }
                }),
        )
    }
}

impl Handler<Cancel> for Dispatcher {
    type Result = ();

    fn handle(&mut self, message: Cancel, context: &mut Self::Context) {
        self.cancel(message.0, context);
    }
}

impl Handler<WhereIs> for Dispatcher {
    type Result = Option<Whereabouts>;

    fn handle(&mut self, message: WhereIs, _: &mut Self::Context) -> Self::Result {
        self.whereabouts(message.0)
    }
}

impl Handler<Drain> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.draining = true;
        self.board.draining.store(true, Ordering::SeqCst);
        if self.store.hands_out() {
            // What waits here belongs to the store, which gives it to somebody else.
            for waiting in self.queue.remove_older(Lane::Background, Instant::now()) {
                refuse(waiting.item.audience, Refusal::Draining);
            }
        }
        self.show();
    }
}

impl Handler<StopAll> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: StopAll, _: &mut Self::Context) {
        self.draining = true;
        for (_, running) in self.take_back(|_| true) {
            refuse(running.pending.audience, Refusal::Draining);
        }
        while let Some(waiting) = self.queue.pop_interactive() {
            refuse(waiting.item.audience, Refusal::Draining);
        }
        for running in self.running.values() {
            running.handle.cancel();
        }
        self.show();
    }
}

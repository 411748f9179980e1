//! The message handlers of the Dispatcher: one per message, each a shell round the Dispatcher's methods.

use super::messages::{
    Cancel, CheckNetwork, Drain, JobLocation, Locate, RunClaimed, RunNow, StopAll, Submit,
};
use super::work::{JobChanges, ReplyTo, Work, reply_error};
use super::{Dispatcher, RETRY_AFTER_MIN};
use crate::actors::runner::Task;
use crate::actors::types::{Accepted, DispatchError};
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
        let work = Work {
            task: Task::Script(submission.script, submission.limits),
            trace: submission.trace,
            attempt: 0,
            reply_to: ReplyTo::Caller(reply),
            changes: JobChanges::default(),
        };
        self.admit(
            Lane::Interactive,
            submission.id,
            submission.client,
            bytes,
            work,
        );
        self.hand_out(context);
    }
}

impl Handler<RunClaimed> for Dispatcher {
    type Result = ();

    fn handle(&mut self, message: RunClaimed, context: &mut Self::Context) {
        let RunClaimed { submission, reply } = message;
        if self.locate(submission.id).is_some() {
            // An attempt that the store has cancelled meanwhile is still here.
            let _ = reply.send(Err(NotRun::Busy));
            return;
        }
        let bytes = submission.script.size_bytes();
        let work = Work {
            task: Task::Script(submission.script, submission.limits),
            trace: submission.trace,
            attempt: 0,
            reply_to: ReplyTo::Claim(reply),
            changes: JobChanges::default(),
        };
        self.admit(
            Lane::Background,
            submission.id,
            submission.client,
            bytes,
            work,
        );
        self.hand_out(context);
    }
}

impl Handler<CheckNetwork> for Dispatcher {
    type Result = ();

    fn handle(&mut self, message: CheckNetwork, context: &mut Self::Context) {
        let work = Work {
            task: Task::NetCheck(message.host, message.port, message.limits),
            trace: None,
            attempt: 0,
            reply_to: ReplyTo::NetCheck(message.reply),
            changes: JobChanges::default(),
        };
        let (id, client) = (JobId::generate(), ClientKey::new("netcheck"));
        self.admit(Lane::Interactive, id, client, 0, work);
        self.hand_out(context);
    }
}

impl Handler<Submit> for Dispatcher {
    type Result = ResponseActFuture<Self, Result<Accepted, DispatchError>>;

    fn handle(&mut self, message: Submit, _: &mut Self::Context) -> Self::Result {
        let Submit { submission, terms } = message;
        if terms.needs_database() && !self.store.supports_terms() {
            return Box::pin(actix::fut::ready(Err(DispatchError::NeedsDatabase)));
        }
        if self.draining {
            return Box::pin(actix::fut::ready(Err(DispatchError::Draining)));
        }
        let bytes = submission.script.size_bytes();
        let Ok(permit) = self.queue.reserve(Lane::Background, bytes) else {
            self.stats.meters.queue_full.of(Lane::Background).count();
            let retry_after = self.retry_after(Lane::Background);
            return Box::pin(actix::fut::ready(Err(DispatchError::QueueFull {
                retry_after,
            })));
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
                    Ok(accepted) if accepted.is_replay || act.store.dispatches_jobs() => {
                        // A replayed job is known already; a new one comes back when the store hands it out.
                        act.queue.release(permit);
                        if !accepted.is_replay {
                            act.have_more_handed_out(&submission.client);
                        }
                        Ok(accepted)
                    }
                    Ok(accepted) => {
                        let work = Work {
                            task: Task::Script(submission.script, submission.limits),
                            trace: submission.trace,
                            attempt: 0,
                            reply_to: ReplyTo::Store,
                            changes: JobChanges::default(),
                        };
                        let (id, client) = (submission.id, submission.client);
                        act.enqueue(permit, id, client, work);
                        act.hand_out(context);
                        Ok(accepted)
                    }
                    Err(StoreError::Full { retry_after }) => {
                        act.queue.release(permit);
                        let retry_after = retry_after.max(RETRY_AFTER_MIN);
                        Err(DispatchError::StoreFull { retry_after })
                    }
                    Err(StoreError::ClientFull { most }) => {
                        act.queue.release(permit);
                        let retry_after = act.retry_after(Lane::Background);
                        Err(DispatchError::ClientFull { most, retry_after })
                    }
                    Err(StoreError::ClientBytesFull { most, retry_after }) => {
                        act.queue.release(permit);
                        let retry_after = retry_after.max(RETRY_AFTER_MIN);
                        Err(DispatchError::ClientBytesFull { most, retry_after })
                    }
                    Err(StoreError::KeyReused) => {
                        act.queue.release(permit);
                        Err(DispatchError::KeyReused)
                    }
                    Err(StoreError::KeyExpired) => {
                        act.queue.release(permit);
                        Err(DispatchError::KeyExpired)
                    }
                    Err(failure @ (StoreError::Unavailable(_) | StoreError::Unreadable(_))) => {
                        act.queue.release(permit);
                        act.count_failure(Some(failure));
                        Err(DispatchError::StoreUnavailable)
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

impl Handler<Locate> for Dispatcher {
    type Result = Option<JobLocation>;

    fn handle(&mut self, message: Locate, _: &mut Self::Context) -> Self::Result {
        self.locate(message.0)
    }
}

impl Handler<Drain> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.draining = true;
        self.stats.draining.store(true, Ordering::SeqCst);
        if self.store.dispatches_jobs() {
            // Jobs that wait here belong to the store, which hands them to another node.
            for waiting in self.queue.remove_older(Lane::Background, Instant::now()) {
                reply_error(waiting.item.reply_to, DispatchError::Draining);
            }
        }
        self.record_stats();
    }
}

impl Handler<StopAll> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: StopAll, _: &mut Self::Context) {
        self.draining = true;
        for (_, running) in self.retract(|_| true) {
            reply_error(running.work.reply_to, DispatchError::Draining);
        }
        while let Some(waiting) = self.queue.pop_interactive() {
            reply_error(waiting.item.reply_to, DispatchError::Draining);
        }
        for running in self.running.values() {
            running.handle.cancel();
        }
        self.record_stats();
    }
}

//! The message handlers of the Dispatcher: one per message, each a shell round the Dispatcher's methods.

use super::messages::{Cancel, CheckNetwork, Drain, JobLocation, Locate, Run, StopAll, Submit};
use super::work::{ReplyTo, Work};
use super::{Dispatcher, RETRY_AFTER_MIN};
use crate::actors::runner::Task;
use crate::actors::types::{Accepted, DispatchError};
use actix::{ActorFutureExt, Handler, ResponseActFuture, WrapFuture};
use sandpiper_domain::{ClientKey, JobId, Lane, Timestamp};
use sandpiper_store::{NewJob, NotRun, QueuePlace, StoreError};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The `Retry-After` of a client that has too many jobs that wait: they may end at any moment, and may wait for long.
const WAITING_RETRY_AFTER: Duration = Duration::from_secs(30);

impl Handler<Run> for Dispatcher {
    type Result = ();

    fn handle(&mut self, message: Run, context: &mut Self::Context) {
        let Run {
            task,
            reply_to,
            queue_place,
        } = message;
        // The place is free for the job itself now: nothing else is handled in between.
        drop(queue_place);
        let reply_to = match reply_to {
            ReplyTo::Store(reply, _) if self.locate(task.id()).is_some() => {
                // An attempt that the store has cancelled meanwhile is still here.
                let _ = reply.send(Err(NotRun::Busy));
                return;
            }
            reply_to => reply_to,
        };
        if let Some(job) = task.job() {
            let (client, bytes) = (job.client.clone(), task.size_bytes());
            let work = Work { task, reply_to };
            if work.goes_on() {
                self.admit_resumed(client, bytes, work);
            } else {
                self.admit(client, bytes, work);
            }
        }
        self.hand_out(context);
    }
}

impl Handler<CheckNetwork> for Dispatcher {
    type Result = ();

    fn handle(&mut self, message: CheckNetwork, context: &mut Self::Context) {
        let work = Work {
            task: Task::NetCheck {
                id: JobId::generate(),
                host: message.host,
                port: message.port,
                limits: message.limits,
            },
            reply_to: ReplyTo::NetCheck(message.reply),
        };
        self.admit(ClientKey::new("netcheck"), 0, work);
        self.hand_out(context);
    }
}

impl Handler<Submit> for Dispatcher {
    type Result = ResponseActFuture<Self, Result<Accepted, DispatchError>>;

    fn handle(&mut self, message: Submit, _: &mut Self::Context) -> Self::Result {
        let new = match self.new_job(message) {
            Ok(new) => new,
            Err(error) => return Box::pin(actix::fut::ready(Err(error))),
        };
        let client = new.job.client.clone();
        let store = Arc::clone(&self.store);
        let accepted = async move { store.submit(new).await };
        Box::pin(
            accepted
                .into_actor(self)
                .map(move |accepted, act, _| match accepted {
                    Ok(accepted) => {
                        if !accepted.is_replay {
                            act.have_more_handed_out(&client);
                        }
                        Ok(accepted)
                    }
                    Err(failure) => Err(act.not_accepted(failure)),
                }),
        )
    }
}

impl Dispatcher {
    /// Reserves a place in the background lane, held until the store has accepted or rejected the job. Fails if the service
    /// drains, if the terms need a database, or if the lane is full.
    fn new_job(&mut self, message: Submit) -> Result<NewJob, DispatchError> {
        let Submit {
            job,
            terms,
            tool_head,
        } = message;
        if terms.needs_database() && !self.store.supports_terms() {
            return Err(DispatchError::NeedsDatabase);
        }
        if self.draining {
            return Err(DispatchError::Draining);
        }
        let bytes = job.script.size_bytes();
        let Ok(permit) = self.queue.reserve(Lane::Background, bytes) else {
            self.stats.meters.queue_full.of(Lane::Background).count();
            let retry_after = self.retry_after(Lane::Background);
            return Err(DispatchError::QueueFull { retry_after });
        };
        Ok(NewJob {
            job,
            created_at: Timestamp::now(),
            terms,
            queue_place: QueuePlace::new(permit),
            tool_head,
        })
    }

    fn not_accepted(&self, failure: StoreError) -> DispatchError {
        match failure {
            StoreError::Full { retry_after } => DispatchError::StoreFull {
                retry_after: retry_after.max(RETRY_AFTER_MIN),
            },
            StoreError::ClientFull { most } => DispatchError::ClientFull {
                most,
                retry_after: self.retry_after(Lane::Background),
            },
            StoreError::WaitingFull { most } => DispatchError::WaitingFull {
                most,
                retry_after: WAITING_RETRY_AFTER,
            },
            StoreError::ClientBytesFull { most, retry_after } => DispatchError::ClientBytesFull {
                most,
                retry_after: retry_after.max(RETRY_AFTER_MIN),
            },
            StoreError::WaitingBytesFull { most } => DispatchError::WaitingBytesFull {
                most,
                retry_after: WAITING_RETRY_AFTER,
            },
            StoreError::KeyReused => DispatchError::KeyReused,
            StoreError::KeyExpired => DispatchError::KeyExpired,
            StoreError::NoReplay => DispatchError::NoReplay,
            StoreError::Unavailable(_) | StoreError::Unreadable(_) => {
                self.count_failure(&failure);
                DispatchError::StoreUnavailable
            }
        }
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
        if self.options.requeue_after.is_some() {
            // Another node can run the jobs that wait here.
            for waiting in self.queue.remove_older(Lane::Background, Instant::now()) {
                waiting.item.reply_to.send_error(DispatchError::Draining);
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
            running.work.reply_to.send_error(DispatchError::Draining);
        }
        while let Some(waiting) = self.queue.pop_interactive() {
            waiting.item.reply_to.send_error(DispatchError::Draining);
        }
        for running in self.running.values() {
            running.handle.cancel();
        }
        self.record_stats();
    }
}

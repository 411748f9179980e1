//! What the Dispatcher is told. Commands only; facts come back to it as the answers of its own futures.

use crate::actors::answers::{Accepted, ExecuteAnswer, Refusal, SandboxReach, Submission};
use crate::domain::{JobId, JobTerms, Limits};
use crate::sandbox::ExecutionHandle;
use actix::Message;
use std::net::IpAddr;
use tokio::sync::oneshot;

/// Run it now; the answer goes to `reply`, and a `reply` that is closed means nobody waits any more.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct RunNow {
    pub(in crate::actors) submission: Submission,
    pub(in crate::actors) reply: oneshot::Sender<ExecuteAnswer>,
}

/// Run what the store hands out. As [`RunNow`], but in the background lane.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct RunClaimed {
    pub(in crate::actors) submission: Submission,
    pub(in crate::actors) reply: oneshot::Sender<ExecuteAnswer>,
}

/// Remember it and run it later.
#[derive(Debug, Message)]
#[rtype(result = "Result<Accepted, Refusal>")]
pub struct Submit {
    pub(in crate::actors) submission: Submission,
    pub(in crate::actors) terms: JobTerms,
}

/// Stop it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Cancel(pub(in crate::actors) JobId);

/// Where does it stand in its lane?
#[derive(Debug, Message)]
#[rtype(result = "Option<usize>")]
pub struct Position(pub(in crate::actors) JobId);

/// What is held of the execution of this job, while it runs here.
#[derive(Debug, Message)]
#[rtype(result = "Option<ExecutionHandle>")]
pub struct HandleOf(pub(in crate::actors) JobId);

/// Try the network from inside a job process.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CheckNetwork {
    pub(in crate::actors) host: IpAddr,
    pub(in crate::actors) port: u16,
    pub(in crate::actors) limits: Limits,
    pub(in crate::actors) reply: oneshot::Sender<Result<SandboxReach, Refusal>>,
}

/// Take nothing new. Jobs of the background lane stay where they are.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;

/// Stop everything that still runs or waits.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct StopAll;

//! What the Dispatcher is told. Commands only; facts come back to it as the answers of its own futures.

use crate::actors::answers::{
    Accepted, ClaimAnswer, ExecuteAnswer, Refusal, SandboxReach, Submission,
};
use actix::{Message, MessageResponse};
use sandpiper_domain::{JobId, JobTerms, Limits};
use sandpiper_sandbox_client::ExecutionHandle;
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
    pub(in crate::actors) reply: oneshot::Sender<ClaimAnswer>,
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

/// Where is it?
#[derive(Debug, Message)]
#[rtype(result = "Option<Whereabouts>")]
pub struct WhereIs(pub(in crate::actors) JobId);

/// Where a job is that is here.
#[derive(Debug, MessageResponse)]
pub enum Whereabouts {
    /// In its lane; 1 is next.
    Waiting(usize),
    /// An executor has it.
    Running(ExecutionHandle),
}

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

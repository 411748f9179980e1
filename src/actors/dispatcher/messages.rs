//! The messages to the Dispatcher. All are commands; results come back to it through its own futures.

use crate::actors::types::{
    Accepted, ClaimResult, DispatchError, ExecuteResult, SandboxReach, Submission,
};
use actix::{Message, MessageResponse};
use sandpiper_domain::{JobId, JobTerms, Limits};
use sandpiper_sandbox_client::ExecutionHandle;
use std::net::IpAddr;
use tokio::sync::oneshot;

/// Runs `submission` now and sends the result to `reply`. A closed `reply` means that the caller has gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct RunNow {
    pub(in crate::actors) submission: Submission,
    pub(in crate::actors) reply: oneshot::Sender<ExecuteResult>,
}

/// Runs a job that the store hands out. Like [`RunNow`], but in the background lane.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct RunClaimed {
    pub(in crate::actors) submission: Submission,
    pub(in crate::actors) reply: oneshot::Sender<ClaimResult>,
}

/// Stores a job, to be run later.
#[derive(Debug, Message)]
#[rtype(result = "Result<Accepted, DispatchError>")]
pub struct Submit {
    pub(in crate::actors) submission: Submission,
    pub(in crate::actors) terms: JobTerms,
}

/// Stops a job.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Cancel(pub(in crate::actors) JobId);

/// Asks where in this process a job is; `None` if the job is not here.
#[derive(Debug, Message)]
#[rtype(result = "Option<JobLocation>")]
pub struct Locate(pub(in crate::actors) JobId);

/// The location of a job in this process.
#[derive(Debug, MessageResponse)]
pub enum JobLocation {
    /// The job waits in its lane at this position; 1 is next.
    Waiting(usize),
    /// An executor runs the job.
    Running(ExecutionHandle),
}

/// Tries to open a connection from inside a job process.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CheckNetwork {
    pub(in crate::actors) host: IpAddr,
    pub(in crate::actors) port: u16,
    pub(in crate::actors) limits: Limits,
    pub(in crate::actors) reply: oneshot::Sender<Result<SandboxReach, DispatchError>>,
}

/// Takes no new work. Jobs of the background lane stay where they are.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;

/// Stops everything that still runs or waits.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct StopAll;

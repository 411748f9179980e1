//! The proof of the isolation before the service serves anything, and the executors that run with no less.

use super::{EXECUTORS_UP_WITHIN, ServeError};
use crate::actors::{Executors, Stats, sandboxes};
use crate::config::ServeOptions;
use sandpiper_sandbox_client::{
    IsolationLevel, LayerReport, Sandbox, SandboxError, SandboxProgram,
};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// The isolation that a sandbox had at the start of the service.
pub(super) struct Proof {
    program: SandboxProgram,
    pub(super) level: IsolationLevel,
    pub(super) isolation_layers: Vec<LayerReport>,
}

/// Starts a sandbox once, as every executor will, before any request is served.
pub(super) fn prove_isolation(options: &ServeOptions) -> Result<Proof, SandboxError> {
    let program = SandboxProgram::beside_this_program()?;
    let sandbox = Sandbox::start(options.isolation.sandbox(program.clone()))?;
    let (level, layers) = sandbox.isolation().ok_or_else(|| {
        SandboxError::Zygote("the zygote ended before it reported its isolation".to_owned())
    })?;
    info!(isolation = %level, "every isolation layer was tried");
    for layer in layers.iter().filter(|layer| !layer.present) {
        warn!(
            layer = layer.layer,
            detail = layer.detail,
            "an isolation layer is absent: the service runs with less isolation than it could have"
        );
    }
    Ok(Proof {
        program,
        level,
        isolation_layers: layers.to_vec(),
    })
}

/// Starts the executors and waits until all are up.
pub(super) async fn start_executors(
    options: &ServeOptions,
    proof: &Proof,
    stats: &Arc<Stats>,
) -> Result<Executors, ServeError> {
    // No later zygote may have less isolation than was proved.
    let mut as_proved = options.isolation.sandbox(proof.program.clone());
    as_proved.min_isolation = proof.level;
    let factory = sandboxes(as_proved);
    let processors = options.processors()?;
    let executors = Executors::start(factory, Arc::clone(stats), processors);
    wait_for_executors(stats).await?;
    Ok(executors)
}

async fn wait_for_executors(stats: &Stats) -> Result<(), ServeError> {
    let deadline = Instant::now() + EXECUTORS_UP_WITHIN;
    loop {
        let (ready, total) = (stats.executors_ready(), stats.executors());
        if ready == total {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(ServeError::Executors { ready, total });
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

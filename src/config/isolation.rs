//! The options of the sandbox: isolation level, speculation, kill grace, and the lifetime of zygotes.

use super::OptionConflict;
use clap::{Args, ValueEnum, value_parser};
use sandpiper_sandbox_client::{
    IsolationLevel, SandboxOptions, SandboxProgram, SpeculationControl, ZygotePlan,
};
use std::time::Duration;

/// The control of CPU speculation in job processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SpeculationOption {
    /// Disables speculation where the kernel allows it.
    Auto,
    /// Leaves speculation enabled.
    Off,
}

/// The options of the sandbox's isolation.
#[derive(Debug, Clone, Args)]
pub struct IsolationOptions {
    /// Refuse to start below this isolation level: L2, L3 or L4
    #[arg(long, env = "SANDPIPER_MIN_ISOLATION", value_name = "LEVEL", default_value_t = IsolationLevel::L2)]
    pub min_isolation: IsolationLevel,
    /// Do not use isolation layers above this level
    #[arg(long, env = "SANDPIPER_MAX_ISOLATION", value_name = "LEVEL", default_value_t = IsolationLevel::L4)]
    pub max_isolation: IsolationLevel,
    /// Disable speculative store bypass and indirect branch speculation for job processes: `auto` where the kernel
    /// allows it, or `off`
    #[arg(
        long,
        env = "SANDPIPER_SPECULATION_CONTROL",
        value_name = "WHEN",
        default_value = "auto"
    )]
    pub speculation_control: SpeculationOption,
    /// Milliseconds between the timeout and SIGKILL
    #[arg(long, env = "SANDPIPER_KILL_GRACE_MS", value_name = "MS", default_value_t = 250, value_parser = value_parser!(u64).range(0..=10_000))]
    pub kill_grace_ms: u64,
    /// Executions after which a zygote is replaced; its children share one address space layout
    #[arg(long, env = "SANDPIPER_ZYGOTE_EXECUTIONS", value_name = "COUNT", default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub zygote_executions: u32,
}

impl IsolationOptions {
    /// Returns the options of each executor's sandbox, which runs `program`.
    #[must_use]
    pub fn sandbox(&self, program: SandboxProgram) -> SandboxOptions {
        SandboxOptions {
            program,
            plan: ZygotePlan {
                max_isolation: self.max_isolation,
                speculation: match self.speculation_control {
                    SpeculationOption::Auto => SpeculationControl::Auto,
                    SpeculationOption::Off => SpeculationControl::Off,
                },
            },
            min_isolation: self.min_isolation,
            kill_grace: Duration::from_millis(self.kill_grace_ms),
            executions_per_zygote: self.zygote_executions,
        }
    }

    /// Checks options that depend on each other.
    pub fn check(&self) -> Result<(), OptionConflict> {
        if self.min_isolation <= self.max_isolation {
            return Ok(());
        }
        Err(OptionConflict {
            first: "--min-isolation",
            second: "--max-isolation",
            reason: format!(
                "{} is required, and no layer above {} is used",
                self.min_isolation, self.max_isolation
            ),
        })
    }
}

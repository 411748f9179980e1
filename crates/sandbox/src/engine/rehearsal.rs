//! Runs a sample script to learn which blocks of a warm engine executions write to. The process is thrown away.

use super::heap;
use super::{Completion, EngineJob, Output, WarmEngine, Written};
use sandpiper_domain::{Ceiling, Language, Limits, LogKind, Script, ScriptKind};
use std::convert::Infallible;
use std::rc::Rc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// The shortest script. Every execution writes to the blocks that it writes to.
    Shortest,
    /// A script with the syntax of nearly every script.
    Short,
    /// A script with what most scripts use of the web APIs that the zygote has taken up.
    Web,
    /// A script with common features.
    Ordinary,
    /// A script with more of those web APIs.
    MoreWeb,
}

impl Sample {
    /// All samples, by how many scripts write to the same blocks.
    pub const ALL: [Self; 5] = [
        Self::Shortest,
        Self::Short,
        Self::Web,
        Self::Ordinary,
        Self::MoreWeb,
    ];

    fn text(self) -> &'static str {
        match self {
            Self::Shortest => "1 + 2",
            Self::Short => include_str!("rehearsal_short.js"),
            Self::Web => include_str!("rehearsal_web.js"),
            Self::Ordinary => include_str!("rehearsal.js"),
            Self::MoreWeb => include_str!("rehearsal_more_web.js"),
        }
    }
}

/// Builds an engine, runs `sample`, and calls `report`, which ends the process. The heap notes its blocks.
/// Returns if there is nothing to report.
pub(crate) fn rehearse(sample: Sample, report: Box<dyn Fn(&Written) -> Infallible>) {
    const CEILING: Ceiling = Ceiling {
        timeout_ms: 1_000,
        memory_bytes: 16 << 20,
        output_bytes: 64 << 10,
    };
    let Ok(engine) = WarmEngine::warm() else {
        return;
    };
    heap::watch_blocks();
    let limits = Limits::defaults(
        CEILING.timeout_ms,
        CEILING.memory_bytes,
        CEILING.output_bytes,
        &CEILING,
    );
    let Ok(limits) = limits else { return };
    let job = EngineJob {
        sources: vec![(Script::CODE_FILE_NAME, sample.text())],
        kind: ScriptKind::Script,
        language: Language::JavaScript,
        modules: Vec::new(),
        input: None,
        globals: Vec::new(),
        limits,
        seed: None,
        entropy: 1,
        tools: None,
    };
    engine.run(&job, Rc::new(Reporter { report }))
}

struct Reporter {
    report: Box<dyn Fn(&Written) -> Infallible>,
}

impl Output for Reporter {
    fn log(&self, _: LogKind, _: u32, _: u64, _: &str) {}

    fn log_dropped(&self) {}

    fn finish(&self, _: &Completion) -> ! {
        match (self.report)(&heap::written()) {}
    }
}

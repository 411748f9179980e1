//! Runs a sample script to learn which blocks of a warm engine executions write to. The process is thrown away.

use super::heap;
use super::{Completion, EngineJob, Output, WarmEngine, Written};
use sandpiper_domain::{Ceiling, Language, Limits, LogKind, ScriptKind};
use std::convert::Infallible;
use std::rc::Rc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// The shortest script. Every execution writes to the blocks that it writes to.
    Shortest,
    /// A script with common features.
    Ordinary,
    /// A script with the web APIs that the zygote has taken up.
    Web,
}

impl Sample {
    /// All samples, shorter ones first.
    pub const ALL: [Self; 3] = [Self::Shortest, Self::Ordinary, Self::Web];

    fn text(self) -> &'static str {
        match self {
            Self::Shortest => "1 + 2",
            Self::Ordinary => include_str!("rehearsal.js"),
            Self::Web => include_str!("rehearsal_web.js"),
        }
    }
}

/// Builds an engine, runs `sample`, and calls `report`, which ends the process. Returns if there is nothing to report.
pub(crate) fn rehearse(sample: Sample, report: Box<dyn Fn(&Written) -> Infallible>) {
    const CEILING: Ceiling = Ceiling {
        timeout_ms: 1_000,
        memory_bytes: 16 << 20,
        output_bytes: 64 << 10,
    };
    heap::note_blocks();
    let Ok(engine) = WarmEngine::warm() else {
        return;
    };
    heap::look_for_changes();
    let limits = Limits::defaults(
        CEILING.timeout_ms,
        CEILING.memory_bytes,
        CEILING.output_bytes,
        &CEILING,
    );
    let Ok(limits) = limits else { return };
    let job = EngineJob {
        sources: vec![("sample", sample.text())],
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

//! Runs one script in the engine, in this process and without any wall, and prints what it says as JSON lines.
//!
//! A tool for working on `src/engine`, not a part of the service. Takes `{code, file?, input?, globals?, seed?, limits?}`
//! as its argument or on its input; `file` is a name in example-scripts.
#![allow(clippy::exit, clippy::print_stdout, clippy::expect_used)] // a tool that prints and exits

use sandpiper::domain::{Ceiling, Limits, LogKind, RequestedLimits};
use sandpiper::engine::{Completion, EngineJob, Output, WarmEngine};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::rc::Rc;
use std::time::{Duration, Instant};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Request {
    code: Option<String>,
    file: Option<String>,
    input: Option<Box<RawValue>>,
    #[serde(default)]
    globals: BTreeMap<String, Box<RawValue>>,
    seed: Option<u64>,
    #[serde(default)]
    limits: RequestLimits,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RequestLimits {
    timeout_ms: Option<u64>,
    memory_bytes: Option<u64>,
    output_bytes: Option<u64>,
}

struct Printer {
    warmed_in: Duration,
    started: Instant,
}

impl Output for Printer {
    fn log(&self, kind: LogKind, depth: u32, timestamp_millis: u64, data: &str) {
        let data: Box<RawValue> = serde_json::from_str(data).expect("log data is JSON");
        let entry = json!({"type": kind, "depth": depth, "timestampMillis": timestamp_millis, "data": data});
        println!("{}", json!({ "log": entry }));
    }

    fn finish(&self, completion: &Completion) -> ! {
        let run_in = self.started.elapsed();
        let result: Option<Box<RawValue>> = completion
            .result
            .as_ref()
            .map(|text| serde_json::from_str(text).expect("the result is JSON"));
        let line = json!({"completion": {
            "outcome": completion.outcome,
            "result": result,
            "resultType": completion.result_type,
            "error": completion.error,
            "logDropped": completion.log_dropped,
            "peakMemoryBytes": completion.peak_memory_bytes,
            "outputBytes": completion.output_bytes,
            "warmMicros": u64::try_from(self.warmed_in.as_micros()).unwrap_or(u64::MAX),
            "runMicros": u64::try_from(run_in.as_micros()).unwrap_or(u64::MAX),
        }});
        println!("{line}");
        std::io::stdout().flush().expect("output can be flushed");
        std::process::exit(0)
    }
}

fn main() {
    let text = std::env::args().nth(1).unwrap_or_else(|| {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .expect("input is text");
        text
    });
    let request: Request = serde_json::from_str(&text).expect("the request is JSON of its form");
    let file = request.file.as_ref().map(|name| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("example-scripts")
            .join(name);
        std::fs::read_to_string(path).expect("the example script exists")
    });
    let mut sources = Vec::new();
    if let Some(code) = &request.code {
        sources.push(("code", code.as_str()));
    }
    if let (Some(name), Some(text)) = (&request.file, &file) {
        sources.push((name.as_str(), text.as_str()));
    }
    let job = EngineJob {
        sources,
        input: request.input.as_ref().map(|input| input.get()),
        globals: request
            .globals
            .iter()
            .map(|(name, value)| (name.as_str(), value.get()))
            .collect(),
        limits: limits(&request.limits),
        seed: request.seed,
        entropy: fastrand::u64(..),
    };
    let warming = Instant::now();
    let engine = WarmEngine::warm().expect("the engine can be built");
    let printer = Printer {
        warmed_in: warming.elapsed(),
        started: Instant::now(),
    };
    engine.run(&job, Rc::new(printer))
}

fn limits(requested: &RequestLimits) -> Limits {
    let ceiling = Ceiling {
        timeout_ms: 30_000,
        memory_bytes: 256 << 20,
        output_bytes: 8 << 20,
    };
    let defaults = Limits::defaults(2_000, 32 << 20, 1 << 20, &ceiling).expect("defaults fit");
    let requested = RequestedLimits {
        timeout_ms: requested.timeout_ms,
        memory_bytes: requested.memory_bytes,
        output_bytes: requested.output_bytes,
    };
    Limits::within(&requested, &defaults, &ceiling).expect("limits are granted")
}

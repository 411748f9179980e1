//! The hostile scripts and their expected ends, from tables with one script per line:
//!
//! ```text
//! code ==> outcome | outcome        any of these outcomes is right
//! code ==> JSON                     it succeeds with this result
//! code ==> distinct                 no two executions have the same result
//! code ==> … log JSON               and logs exactly these entries
//! @{"kind": …, "language": …, "modules": {…}}@ code ==> …   a script of another kind or language, or with modules
//! ⟦a…b…c⟧                          in a code: `a` a hundred thousand times if there is room, `b`, and `c` as often as `a`
//! ```

use sandpiper_domain::{Language, ScriptKind, Source};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// Scripts of one kind, with a common time limit.
pub(super) struct Class {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    timeout_ms: u32,
    table: &'static str,
}

/// Time limit of classes whose scripts mostly use all of it.
const SHORT_MS: u32 = 150;
/// Time limit that even the slowest machine does not reach before another limit.
const PATIENT_MS: u32 = 5_000;

pub(super) const CLASSES: &[Class] = &[
    Class {
        name: "endless",
        about: "loops that swallow every exception",
        timeout_ms: SHORT_MS,
        table: include_str!("corpus/endless.table"),
    },
    Class {
        name: "queues",
        about: "microtasks, timers and finalizers without end",
        timeout_ms: SHORT_MS,
        table: include_str!("corpus/queues.table"),
    },
    Class {
        name: "native",
        about: "built-in functions and parsers that never ask for the time",
        timeout_ms: SHORT_MS,
        table: include_str!("corpus/native.table"),
    },
    Class {
        name: "memory",
        about: "memory by heap, strings, buffers, regular expressions, parsers",
        timeout_ms: PATIENT_MS,
        table: include_str!("corpus/memory.table"),
    },
    Class {
        name: "stack",
        about: "recursion of calls, parsers, JSON, conversions, proxies",
        timeout_ms: PATIENT_MS,
        table: include_str!("corpus/stack.table"),
    },
    Class {
        name: "output",
        about: "floods by log, result and error",
        timeout_ms: PATIENT_MS,
        table: include_str!("corpus/output.table"),
    },
    Class {
        name: "spinning",
        about: "values that never end being read",
        timeout_ms: SHORT_MS,
        table: include_str!("corpus/spinning.table"),
    },
    Class {
        name: "reading",
        about: "getters, proxies and thrown values that fight being read",
        timeout_ms: PATIENT_MS,
        table: include_str!("corpus/reading.table"),
    },
    Class {
        name: "tampering",
        about: "prototypes, built-in functions and globals turned against the host",
        timeout_ms: PATIENT_MS,
        table: include_str!("corpus/tampering.table"),
    },
    Class {
        name: "leaks",
        about: "residue, randomness, hidden globals, modules, the host's own text",
        timeout_ms: PATIENT_MS,
        table: include_str!("corpus/leaks.table"),
    },
    Class {
        name: "engine",
        about: "the shapes of past engine bugs: resize, detach, species, re-entrance",
        timeout_ms: PATIENT_MS,
        table: include_str!("corpus/engine.table"),
    },
    Class {
        name: "web-endless",
        about: "web APIs that are given no end of work",
        timeout_ms: SHORT_MS,
        table: include_str!("corpus/web-endless.table"),
    },
    Class {
        name: "web",
        about: "web APIs: re-entrance, detached buffers, long inputs, prototypes changed before",
        timeout_ms: PATIENT_MS,
        table: include_str!("corpus/web.table"),
    },
    Class {
        name: "modules",
        about: "circles, failed loads, odd exports, and functions that do not stay closed",
        timeout_ms: PATIENT_MS,
        table: include_str!("corpus/modules.table"),
    },
    Class {
        name: "typescript",
        about: "TypeScript that looks like JavaScript, that hides code in types, or that is none",
        timeout_ms: PATIENT_MS,
        table: include_str!("corpus/typescript.table"),
    },
    Class {
        name: NESTING,
        about: "TypeScript that is nested a hundred thousand deep",
        timeout_ms: PATIENT_MS,
        table: include_str!("corpus/nesting.table"),
    },
];

/// The class whose scripts drive the parser of TypeScript out of its stack.
pub(super) const NESTING: &str = "nesting";
/// Repetitions of the parts of a nested code, if the code does not get longer than [`NESTED_BYTES_MAX`].
const NESTED: usize = 100_000;
const NESTED_BYTES_MAX: usize = 1_000_000;

/// A script of the selftest.
#[derive(Debug, Clone, Default)]
pub struct TestScript {
    pub code: String,
    pub kind: ScriptKind,
    pub language: Language,
    pub modules: Vec<Source>,
}

impl From<&str> for TestScript {
    fn from(code: &str) -> Self {
        Self {
            code: code.to_owned(),
            ..Self::default()
        }
    }
}

pub(super) struct Case {
    pub(super) script: TestScript,
    pub(super) expected: Expected,
    pub(super) log: Option<Value>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expected {
    Outcomes(Vec<String>),
    Result(Value),
    Distinct,
}

impl fmt::Display for Expected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outcomes(outcomes) => formatter.write_str(&outcomes.join(" or ")),
            Self::Result(result) => write!(formatter, "succeeded {result}"),
            Self::Distinct => formatter.write_str("results that differ"),
        }
    }
}

impl Class {
    /// Returns the time limit of these scripts on a machine that is `factor` times slower than a quiet one. Classes
    /// with the short limit keep it: their scripts use it up on every machine.
    pub(super) fn timeout_ms(&self, factor: u32) -> u32 {
        match self.timeout_ms {
            PATIENT_MS => PATIENT_MS * factor,
            short => short,
        }
    }

    pub(super) fn cases(&self) -> impl Iterator<Item = Case> {
        self.table.lines().filter_map(parse)
    }
}

fn parse(line: &str) -> Option<Case> {
    let (code, expected) = line.rsplit_once(" ==> ")?;
    let (expected, log) = match expected.split_once(" log ") {
        Some((expected, log)) => (expected, Some(serde_json::from_str(log).ok()?)),
        None => (expected, None),
    };
    let expected = match (expected, serde_json::from_str(expected)) {
        ("distinct", _) => Expected::Distinct,
        // JSON cannot express `undefined`; the API's result is null.
        ("undefined", _) => Expected::Result(Value::Null),
        (_, Ok(result)) => Expected::Result(result),
        (outcomes, Err(_)) => Expected::Outcomes(
            outcomes
                .split('|')
                .map(|outcome| outcome.trim().to_owned())
                .collect(),
        ),
    };
    Some(Case {
        script: script_of(code)?,
        expected,
        log,
    })
}

/// The fields of a script other than its code.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct More {
    #[serde(default)]
    kind: ScriptKind,
    #[serde(default)]
    language: Language,
    #[serde(default)]
    modules: BTreeMap<String, String>,
}

fn script_of(text: &str) -> Option<TestScript> {
    let Some(fields) = text.strip_prefix("@{") else {
        return Some(text.into());
    };
    let (fields, code) = fields.split_once("}@ ")?;
    let more: More = serde_json::from_str(&format!("{{{fields}}}")).ok()?;
    let modules = more.modules.into_iter();
    let modules = modules.map(|(file_name, text)| Source { file_name, text });
    Some(TestScript {
        code: unfolded(code)?,
        kind: more.kind,
        language: more.language,
        modules: modules.collect(),
    })
}

/// Writes out each `⟦a…b…c⟧` of a code.
fn unfolded(code: &str) -> Option<String> {
    let Some((before, rest)) = code.split_once('⟦') else {
        return Some(code.to_owned());
    };
    let (nested, after) = rest.split_once('⟧')?;
    let mut parts = nested.split('…');
    let (Some(open), Some(middle), Some(close), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let times = NESTED.min(NESTED_BYTES_MAX / (open.len() + close.len()).max(1));
    let (open, close) = (open.repeat(times), close.repeat(times));
    let after = unfolded(after)?;
    Some(format!("{before}{open}{middle}{close}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandpiper_domain::Outcome;

    #[test]
    fn every_line_of_every_table_is_a_script_with_outcomes_that_exist() {
        let mut scripts = 0;
        for class in CLASSES {
            for line in class.table.lines() {
                let case = parse(line).unwrap_or_else(|| panic!("{}: {line}", class.name));
                if let Expected::Outcomes(outcomes) = case.expected {
                    for outcome in outcomes {
                        serde_json::from_value::<Outcome>(Value::from(outcome)).expect(line);
                    }
                }
                scripts += 1;
            }
        }
        assert!(scripts >= 400, "only {scripts} scripts");
    }
}

//! The fingerprint of a request, by which a repeated request is recognized: it covers the values of the request, and not
//! their spelling.

use super::{NewJob, json_meaning};
use sandpiper_domain::tools::{Tool, ToolLimits, Tools};
use sandpiper_domain::{JobTerms, RequestedLimits, Script};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    exact: String,
    meaning: Meaning,
}

/// The digests of the values of a request. Two requests are the same if one of the two digests is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Meaning {
    /// With the granted limits: a request that names the defaults is the same as one without limits.
    granted: String,
    /// With the requested limits: the operator may change the defaults between a request and its repetition.
    requested: String,
}

impl Meaning {
    fn is_same(&self, granted: &str, requested: &str) -> bool {
        self.granted == granted || self.requested == requested
    }
}

const SEPARATOR: char = '.';

impl Fingerprint {
    pub(crate) fn of(new: &NewJob) -> Self {
        let exact = (
            &new.job.script,
            &new.job.limits,
            new.terms.run_at,
            new.terms.priority.get(),
        );
        // Strings and numbers can be serialized to memory without failure.
        let mut exact = serde_json::to_vec(&exact).unwrap_or_default();
        if new.job.script.tools().is_some() {
            write_tool_terms(&new.terms, &mut exact);
            write_tool_limits(&new.terms.requested_limits, &mut exact);
        }
        Self {
            exact: digest(&exact),
            meaning: meaning_of(new),
        }
    }

    /// Returns the fingerprint with each digest replaced; `None` if one has no replacement.
    pub(crate) fn map(&self, replace: impl Fn(&str) -> Option<String>) -> Option<Self> {
        Some(Self {
            exact: replace(&self.exact)?,
            meaning: Meaning {
                granted: replace(&self.meaning.granted)?,
                requested: replace(&self.meaning.requested)?,
            },
        })
    }

    /// Returns the digest that earlier versions compare: that of the request's text.
    pub(crate) fn exact(&self) -> &str {
        &self.exact
    }

    /// Returns the digests of the values, as they are stored.
    pub(crate) fn meaning(&self) -> String {
        let Meaning { granted, requested } = &self.meaning;
        format!("{granted}{SEPARATOR}{requested}")
    }

    /// Returns whether a stored request is the same. An earlier version stored no meaning, and its exact digest is compared.
    pub(crate) fn is_stored_as(&self, exact: &str, meaning: Option<&str>) -> bool {
        let meant = meaning.and_then(|meaning| meaning.split_once(SEPARATOR));
        self.exact == exact
            || meant.is_some_and(|(granted, requested)| self.meaning.is_same(granted, requested))
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let Meaning { granted, requested } = &other.meaning;
        self.meaning.is_same(granted, requested)
    }
}

fn meaning_of(new: &NewJob) -> Meaning {
    let mut bytes = Vec::new();
    write_script(&new.job.script, &mut bytes);
    write_number(new.terms.run_at.map(|at| at.as_unix_millis()), &mut bytes);
    write_number(Some(u64::from(new.terms.priority.get())), &mut bytes);
    let has_tools = new.job.script.tools().is_some();
    if has_tools {
        write_tool_terms(&new.terms, &mut bytes);
    }
    let with_limits = |limits: RequestedLimits| {
        let mut bytes = bytes.clone();
        if has_tools {
            write_tool_limits(&limits, &mut bytes);
        }
        for limit in [limits.timeout_ms, limits.memory_bytes, limits.output_bytes] {
            write_number(limit, &mut bytes);
        }
        digest(&bytes)
    };
    Meaning {
        granted: with_limits(RequestedLimits {
            timeout_ms: Some(u64::from(new.job.limits.timeout_ms())),
            memory_bytes: Some(new.job.limits.memory_bytes()),
            output_bytes: Some(u64::from(new.job.limits.output_bytes())),
            ..granted_tool_limits(new)
        }),
        requested: with_limits(new.terms.requested_limits),
    }
}

fn write_script(script: &Script, to: &mut Vec<u8>) {
    write_count(script.sources().len(), to);
    for source in script.sources() {
        write_text(&source.file_name, to);
        let is_clients = [
            Script::PRELUDE_FILE_NAME,
            Script::CODE_FILE_NAME,
            Script::SOURCE_FILE_NAME,
        ];
        // The name of an example script decides: another version of the service may have another text under it.
        if is_clients.contains(&source.file_name.as_str()) {
            write_text(&source.text, to);
        }
    }
    match script.input() {
        Some(input) => json_meaning::write(input.as_str(), to),
        None => to.push(b'-'),
    }
    // Of several globals with one name the script sees the last.
    let globals = script.globals().iter();
    let globals: BTreeMap<&str, &str> = globals
        .map(|global| (global.name.as_str(), global.value.as_str()))
        .collect();
    write_count(globals.len(), to);
    for (name, value) in globals {
        write_text(name, to);
        json_meaning::write(value, to);
    }
    write_number(script.seed(), to);
    if !script.is_plain() {
        write_more(script, to);
    }
}

/// Writes what a plain script does not have. The fingerprint of a plain script is that of earlier versions.
fn write_more(script: &Script, to: &mut Vec<u8>) {
    to.push(b'k');
    write_text(script.kind().as_str(), to);
    write_text(script.language().as_str(), to);
    let modules = script.modules().iter();
    let modules: BTreeMap<&str, &str> = modules
        .map(|module| (module.file_name.as_str(), module.text.as_str()))
        .collect();
    write_count(modules.len(), to);
    for (name, text) in modules {
        write_text(name, to);
        write_text(text, to);
    }
    if let Some(tools) = script.tools() {
        write_tools(tools, to);
    }
}

/// Writes the tools of a script, in any order and spelling of their schemas.
fn write_tools(tools: &Tools, to: &mut Vec<u8>) {
    to.push(b't');
    let mut tools: Vec<&Tool> = tools.as_slice().iter().collect();
    tools.sort_by_key(|tool| tool.name.as_str());
    write_count(tools.len(), to);
    for tool in tools {
        write_text(tool.name.as_str(), to);
        write_text(tool.description.as_deref().unwrap_or_default(), to);
        for schema in [&tool.input_schema, &tool.output_schema] {
            match schema {
                Some(schema) => json_meaning::write(schema.as_str(), to),
                None => to.push(b'-'),
            }
        }
    }
}

/// Writes the terms that only a job with tools has, without their limits.
fn write_tool_terms(terms: &JobTerms, to: &mut Vec<u8>) {
    let unawaited = serde_json::to_vec(&terms.unawaited.unwrap_or_default());
    to.extend(unawaited.unwrap_or_default());
}

/// Returns the limits of tools that a job was granted: those that its request names, and the defaults of the others. `None`
/// each for a job without tools, and for limits out of bounds, which no submitted job has.
fn granted_tool_limits(new: &NewJob) -> RequestedLimits {
    let requested = &new.terms.requested_limits;
    let granted = match new.job.script.tools() {
        Some(_) => ToolLimits::of_job(requested, &new.job.limits).ok(),
        None => None,
    };
    let granted = |of: fn(&ToolLimits) -> u32| granted.as_ref().map(|limits| of(limits).into());
    RequestedLimits {
        argument_bytes: granted(|limits| limits.argument_bytes),
        call_timeout_ms: granted(|limits| limits.call_timeout_ms),
        calls_max: granted(|limits| limits.calls_max),
        concurrent_calls_max: granted(|limits| limits.concurrent_calls_max),
        log_bytes: granted(|limits| limits.log_bytes),
        result_bytes: granted(|limits| limits.result_bytes),
        wait_timeout_s: granted(|limits| limits.wait_timeout_s),
        ..RequestedLimits::default()
    }
}

fn write_tool_limits(limits: &RequestedLimits, to: &mut Vec<u8>) {
    for limit in [
        limits.calls_max,
        limits.concurrent_calls_max,
        limits.argument_bytes,
        limits.result_bytes,
        limits.log_bytes,
        limits.call_timeout_ms,
        limits.wait_timeout_s,
    ] {
        write_number(limit, to);
    }
}

fn write_text(text: &str, to: &mut Vec<u8>) {
    write_count(text.len(), to);
    to.extend_from_slice(text.as_bytes());
}

fn write_count(count: usize, to: &mut Vec<u8>) {
    to.extend((count as u64).to_be_bytes());
}

fn write_number(number: Option<u64>, to: &mut Vec<u8>) {
    match number {
        Some(number) => {
            to.push(b'+');
            to.extend(number.to_be_bytes());
        }
        None => to.push(b'-'),
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::QueuePlace;
    use sandpiper_domain::tools::{ToolName, Unawaited};
    use sandpiper_domain::{
        Global, Job, JobTerms, JsonText, Language, Priority, ScriptDraft, ScriptKind, Source,
        Timestamp, samples,
    };
    use std::sync::Arc;

    fn job(change: impl FnOnce(&mut ScriptDraft, &mut JobTerms)) -> NewJob {
        let mut draft = ScriptDraft {
            code: Some("1".to_owned()),
            ..ScriptDraft::default()
        };
        let mut terms = JobTerms::default();
        change(&mut draft, &mut terms);
        let job = Job {
            script: Script::new(draft).unwrap(),
            ..samples::job("test", 1)
        };
        NewJob {
            job: Arc::new(job),
            created_at: Timestamp::now(),
            terms,
            queue_place: QueuePlace::default(),
            tool_head: None,
        }
    }

    fn of(change: impl FnOnce(&mut ScriptDraft, &mut JobTerms)) -> Fingerprint {
        Fingerprint::of(&job(change))
    }

    fn json(text: &str) -> JsonText {
        JsonText::parse(text.to_owned()).unwrap()
    }

    fn global(name: &str, value: &str) -> Global {
        Global {
            name: name.to_owned(),
            value: json(value),
        }
    }

    fn module(name: &str, text: &str) -> Source {
        Source {
            file_name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    fn tools(names: &[&str]) -> Option<Tools> {
        let tools = names.iter();
        let tools = tools.map(|name| Tool::named(ToolName::parse(name).unwrap()));
        Some(Tools::new(tools.collect()).unwrap())
    }

    #[test]
    fn the_order_of_tools_and_a_default_that_is_named_make_no_difference() {
        let one = of(|draft, _| draft.tools = tools(&["a", "b"]));
        let other = of(|draft, terms| {
            draft.tools = tools(&["b", "a"]);
            terms.unawaited = Some(Unawaited::Offer);
        });
        assert!(one.is_same(&other));
    }

    #[test]
    fn a_limit_of_tools_that_is_left_out_is_the_same_as_its_default() {
        let with = |calls_max| {
            of(|draft, terms| {
                draft.tools = tools(&["a"]);
                terms.requested_limits.calls_max = calls_max;
            })
        };
        let default = u64::from(ToolLimits::default().calls_max);
        assert!(with(None).is_same(&with(Some(default))));
        assert!(!with(None).is_same(&with(Some(default - 1))));
        assert!(!with(Some(1)).is_same(&with(Some(2))));
    }

    #[test]
    fn the_order_of_modules_makes_no_difference() {
        let (a, b) = (|| module("a", "1"), || module("b", "2"));
        let one = of(|draft, _| draft.modules = vec![a(), b()]);
        let other = of(|draft, _| draft.modules = vec![b(), a()]);
        assert!(one.is_same(&other));
    }

    fn example(text: &str) -> Option<Source> {
        Some(Source {
            file_name: "pi.js".to_owned(),
            text: text.to_owned(),
        })
    }

    #[test]
    fn a_request_that_an_earlier_version_stored_is_compared_by_its_exact_digest() {
        // The digest of a version that stored no meaning.
        let stored = "73a1a3080db7b298d588fb813be8cea65a48beca01a628cf99b36af96bab46e3";
        let again = of(|draft, _| draft.input = Some(json(r#"{"b":1.0, "a":2}"#)));
        assert_eq!(again.exact(), stored);
        assert!(again.is_stored_as(stored, None));
        let reordered = of(|draft, _| draft.input = Some(json(r#"{"a":2, "b":1.0}"#)));
        assert!(!reordered.is_stored_as(stored, None));
        // A request that this version stores is recognized in any spelling.
        assert!(reordered.is_stored_as(stored, Some(&again.meaning())));
        assert!(again.is_same(&reordered));
    }

    #[test]
    fn requests_that_differ_in_one_value_are_different() {
        let all = [
            of(|_, _| {}),
            of(|draft, _| draft.code = Some("2".to_owned())),
            of(|draft, _| {
                draft.source = draft.code.take();
            }),
            of(|draft, _| draft.file = example("x")),
            of(|draft, _| draft.input = Some(json("null"))),
            of(|draft, _| draft.input = Some(json("1"))),
            of(|draft, _| draft.globals = vec![global("a", "1")]),
            of(|draft, _| draft.globals = vec![global("b", "1")]),
            of(|draft, _| draft.seed = Some(1)),
            of(|draft, _| draft.kind = ScriptKind::Function),
            of(|draft, _| draft.kind = ScriptKind::Module),
            of(|draft, _| draft.language = Language::TypeScript),
            of(|draft, _| draft.prelude = Some("2".to_owned())),
            of(|draft, _| draft.prelude = Some("3".to_owned())),
            of(|draft, _| draft.modules = vec![module("a", "1")]),
            of(|draft, _| draft.modules = vec![module("a", "2")]),
            of(|draft, _| draft.modules = vec![module("b", "1")]),
            of(|draft, _| draft.modules = vec![module("a", "1"), module("b", "1")]),
            of(|draft, _| draft.tools = tools(&["a"])),
            of(|draft, _| draft.tools = tools(&["b"])),
            of(|draft, _| draft.tools = tools(&["a", "b"])),
            of(|draft, terms| {
                draft.tools = tools(&["a"]);
                terms.unawaited = Some(Unawaited::Drop);
            }),
            of(|draft, terms| {
                draft.tools = tools(&["a"]);
                terms.requested_limits.calls_max = Some(1);
            }),
            of(|_, terms| terms.run_at = Some(Timestamp::from_unix_millis(1))),
            of(|_, terms| terms.priority = Priority::new(1).unwrap()),
        ];
        for (place, one) in all.iter().enumerate() {
            for (other_place, other) in all.iter().enumerate() {
                let is_same = one.is_same(other);
                assert_eq!(is_same, place == other_place, "{place} {other_place}");
                let is_stored = one.is_stored_as(other.exact(), Some(&other.meaning()));
                assert_eq!(is_stored, place == other_place, "{place} {other_place}");
            }
        }
    }

    #[test]
    fn the_order_of_globals_and_the_text_of_an_example_make_no_difference() {
        let one = of(|draft, _| {
            draft.globals = vec![global("a", "1.0"), global("b", r#"{"x":1,"y":2}"#)];
            draft.file = example("before the upgrade");
        });
        let other = of(|draft, _| {
            draft.globals = vec![
                global("b", "7"),
                global("b", r#"{"y":2,"x":1e0}"#),
                global("a", "1"),
            ];
            draft.file = example("after it");
        });
        assert!(one.is_same(&other));
    }

    #[test]
    fn limits_are_the_same_if_the_granted_or_the_requested_ones_are() {
        let granted = samples::limits();
        let silent = of(|_, _| {});
        let explicit = of(|_, terms| {
            terms.requested_limits.timeout_ms = Some(u64::from(granted.timeout_ms()));
        });
        assert!(silent.is_same(&explicit));
        // The operator has changed the defaults meanwhile.
        let mut after = job(|_, _| {});
        let ceiling = sandpiper_domain::Ceiling {
            timeout_ms: 9_000,
            memory_bytes: 1 << 30,
            output_bytes: 1 << 30,
        };
        let defaults = sandpiper_domain::Limits::defaults(9_000, 1 << 30, 1 << 30, &ceiling);
        Arc::get_mut(&mut after.job).unwrap().limits = defaults.unwrap();
        let after = Fingerprint::of(&after);
        assert!(silent.is_same(&after));
        assert!(!explicit.is_same(&after));
    }
}

//! The parts of a request that must be the same in every round of an execution.

use sandpiper_domain::tools::{Tools, Unawaited};
use sandpiper_domain::{Script, Source};
use sandpiper_store::write_ordered_json;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The names of sources that are not that of an example script.
const OWN_NAMES: [&str; 3] = [
    Script::PRELUDE_FILE_NAME,
    Script::CODE_FILE_NAME,
    Script::SOURCE_FILE_NAME,
];

/// Digests of the parts of a request, each under the name of a field of the request.
///
/// White space and the spelling of numbers and strings make no difference. Every difference that a script could see makes
/// one, also the order of members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestParts {
    kind: Part,
    language: Part,
    prelude: Part,
    code: Part,
    source: Part,
    file: Part,
    modules: Part,
    input: Part,
    globals: Part,
    seed: Part,
    tools: Part,
    unawaited: Part,
}

/// The first half of a SHA-256. That is long enough: a client that finds two equal ones confuses its own script alone.
type Part = u128;

impl RequestParts {
    /// Digests a request for `script`.
    #[must_use]
    pub fn of(script: &Script, unawaited: Unawaited) -> Self {
        let own = |name: &str| {
            let source = script.sources().iter().find(|it| it.file_name == name);
            part(|to| source.into_iter().for_each(|it| write_text(&it.text, to)))
        };
        Self {
            kind: part(|to| write_text(script.kind().as_str(), to)),
            language: part(|to| write_text(script.language().as_str(), to)),
            prelude: own(Script::PRELUDE_FILE_NAME),
            code: own(Script::CODE_FILE_NAME),
            source: own(Script::SOURCE_FILE_NAME),
            file: part(|to| {
                let is_own = |source: &&Source| OWN_NAMES.contains(&source.file_name.as_str());
                for source in script.sources().iter().filter(|source| !is_own(source)) {
                    write_text(&source.file_name, to);
                    write_text(&source.text, to);
                }
            }),
            modules: part(|to| {
                for module in script.modules() {
                    write_text(&module.file_name, to);
                    write_text(&module.text, to);
                }
            }),
            input: part(|to| {
                if let Some(input) = script.input() {
                    write_ordered_json(input.as_str(), to);
                }
            }),
            globals: part(|to| {
                for global in script.globals() {
                    write_text(&global.name, to);
                    write_ordered_json(global.value.as_str(), to);
                }
            }),
            seed: part(|to| {
                if let Some(seed) = script.seed() {
                    to.extend(seed.to_be_bytes());
                }
            }),
            tools: part(|to| {
                // Descriptions and schemas change nothing for the script.
                for tool in script.tools().map_or(&[][..], Tools::as_slice) {
                    write_text(tool.name.as_str(), to);
                }
            }),
            unawaited: part(|to| {
                to.push(match unawaited {
                    Unawaited::Offer => b'o',
                    Unawaited::Drop => b'd',
                    Unawaited::Fail => b'f',
                });
            }),
        }
    }

    /// Returns the name of the first field that differs.
    pub(super) fn first_difference(&self, other: &Self) -> Option<&'static str> {
        let fields = [
            ("kind", self.kind == other.kind),
            ("language", self.language == other.language),
            ("prelude", self.prelude == other.prelude),
            ("code", self.code == other.code),
            ("source", self.source == other.source),
            ("file", self.file == other.file),
            ("modules", self.modules == other.modules),
            ("input", self.input == other.input),
            ("globals", self.globals == other.globals),
            ("seed", self.seed == other.seed),
            ("tools", self.tools == other.tools),
            ("unawaited", self.unawaited == other.unawaited),
        ];
        let different = fields.into_iter().find(|(_, is_same)| !is_same);
        different.map(|(field, _)| field)
    }
}

fn part(write: impl FnOnce(&mut Vec<u8>)) -> Part {
    let mut bytes = Vec::new();
    write(&mut bytes);
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    let (half, _) = digest.split_at(size_of::<Part>());
    half.iter()
        .fold(0, |part, byte| (part << 8) | Part::from(*byte))
}

/// Writes a text with its length, so that two lists of texts never have the same bytes.
fn write_text(text: &str, to: &mut Vec<u8>) {
    to.extend((text.len() as u64).to_be_bytes());
    to.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandpiper_domain::tools::{Tool, ToolName};
    use sandpiper_domain::{Global, JsonText, Language, ScriptDraft, ScriptKind};

    fn of(change: impl FnOnce(&mut ScriptDraft)) -> RequestParts {
        let mut draft = ScriptDraft {
            code: Some("1".to_owned()),
            input: JsonText::parse(r#"{"a":1,"b":2}"#.to_owned()).ok(),
            ..ScriptDraft::default()
        };
        change(&mut draft);
        RequestParts::of(&Script::new(draft).unwrap(), Unawaited::Offer)
    }

    fn json(text: &str) -> Option<JsonText> {
        JsonText::parse(text.to_owned()).ok()
    }

    fn source(name: &str, text: &str) -> Source {
        Source {
            file_name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn the_field_that_differs_is_named() {
        let first = of(|_| ());
        assert_eq!(first.first_difference(&of(|_| ())), None);
        let spelled = of(|draft| draft.input = json(" { \"a\" : 1.0, \"b\": 2e0 }"));
        assert_eq!(first.first_difference(&spelled), None);
        let global = |name: &str| Global {
            name: name.to_owned(),
            value: json("1").unwrap(),
        };
        for (field, other) in [
            ("code", of(|draft| draft.code = Some("2".to_owned()))),
            ("prelude", of(|draft| draft.prelude = Some("2".to_owned()))),
            ("file", of(|draft| draft.file = Some(source("pi.js", "1")))),
            ("kind", of(|draft| draft.kind = ScriptKind::Function)),
            (
                "language",
                of(|draft| draft.language = Language::TypeScript),
            ),
            ("modules", of(|draft| draft.modules = vec![source("a", "")])),
            ("input", of(|draft| draft.input = json(r#"{"b":2,"a":1}"#))),
            ("input", of(|draft| draft.input = None)),
            ("globals", of(|draft| draft.globals = vec![global("a")])),
            ("seed", of(|draft| draft.seed = Some(0))),
        ] {
            assert_eq!(first.first_difference(&other), Some(field));
        }
        let script = sandpiper_domain::samples::script(1);
        let offered = RequestParts::of(&script, Unawaited::Offer);
        let dropped = RequestParts::of(&script, Unawaited::Drop);
        assert_eq!(offered.first_difference(&dropped), Some("unawaited"));
    }

    #[test]
    fn the_names_of_tools_and_their_order_count_and_their_descriptions_do_not() {
        let tools = |names: [&str; 2], description: Option<&str>| {
            let tools = names.map(|name| Tool {
                description: description.map(str::to_owned),
                ..Tool::named(ToolName::parse(name).unwrap())
            });
            of(|draft| draft.tools = Tools::new(tools.to_vec()).ok())
        };
        let first = tools(["a", "b"], None);
        assert_eq!(first.first_difference(&tools(["a", "b"], Some("d"))), None);
        for names in [["b", "a"], ["a", "c"]] {
            assert_eq!(first.first_difference(&tools(names, None)), Some("tools"));
        }
    }
}

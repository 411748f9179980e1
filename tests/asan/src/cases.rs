//! The scripts to run, and the allocations to refuse in each.

use crate::benign::{KINDS, SCRIPTS, TYPESCRIPT};
use crate::corpus::{CLASSES, NESTING, TestScript};
use crate::engine::Refusals;
use sandpiper_domain::{Language, Source};

const MIB: u64 = 1 << 20;
/// The service's default.
const MEMORY_BYTES: u64 = 32 * MIB;
/// The last allocation that the sweep refuses, and the growth of its steps after the first.
const LAST_REFUSED: u64 = 60_000;
const EACH_UNTIL: u64 = 150;
/// The step of the limit in the sweep and the lowest limit, bytes.
const LIMIT_STEP_BYTES: u64 = 16_000;

/// One execution.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) script: TestScript,
    pub(crate) timeout_ms: u32,
    pub(crate) memory_bytes: u64,
    pub(crate) refusals: Refusals,
    /// The script can fail for lack of memory only.
    is_benign: bool,
}

impl Case {
    fn new(script: impl Into<TestScript>, timeout_ms: u32) -> Self {
        Self {
            script: script.into(),
            timeout_ms,
            memory_bytes: MEMORY_BYTES,
            refusals: Refusals::None,
            is_benign: false,
        }
    }

    /// Returns the expected outcome if `outcome` is not allowed.
    pub(crate) fn violation(&self, outcome: &str, was_refused: bool) -> Option<&'static str> {
        let is_possible = match outcome {
            "Succeeded" | "TimedOut" => true,
            "MemoryExceeded" => !self.is_benign || was_refused || self.memory_bytes < MEMORY_BYTES,
            _ => !self.is_benign,
        };
        (!is_possible).then_some("where only memory can be missing")
    }
}

/// Returns the corpus of the selftest, but not the scripts that run the parser of TypeScript out of its stack: the handler
/// for that belongs to a zygote.
pub(crate) fn corpus(mut run: impl FnMut(&Case) -> bool) {
    for class in CLASSES.iter().filter(|class| class.name != NESTING) {
        for case in class.cases() {
            run(&Case::new(case.script, class.timeout_ms(1)));
        }
    }
}

/// Returns the part of the corpus whose faults show when a garbage collection runs at every allocation.
pub(crate) fn collected(mut run: impl FnMut(&Case) -> bool) {
    const TIMEOUT_MS: u32 = 1_500;
    for class in CLASSES {
        if ["engine", "modules", "reading", "tampering"].contains(&class.name) {
            for case in class.cases() {
                run(&Case::new(case.script, TIMEOUT_MS));
            }
        }
    }
    for script in benign_scripts() {
        run(&Case::new(script, TIMEOUT_MS));
    }
}

/// Returns benign scripts. In each, one allocation is refused, then that one and all later ones, at every position.
/// Then the limit is lowered step by step.
pub(crate) fn sweep(mut run: impl FnMut(&Case) -> bool) {
    const TIMEOUT_MS: u32 = 5_000;
    for script in benign_scripts() {
        let benign = Case {
            is_benign: true,
            ..Case::new(script, TIMEOUT_MS)
        };
        let kinds: [fn(u64) -> Refusals; 2] = [Refusals::One, Refusals::AllFrom];
        for refusals in kinds {
            let mut number = 1;
            while number < LAST_REFUSED {
                let refused = run(&Case {
                    refusals: refusals(number),
                    ..benign.clone()
                });
                if !refused {
                    break;
                }
                number += if number < EACH_UNTIL { 1 } else { number / 20 };
            }
        }
        let mut memory_bytes = MIB;
        while memory_bytes > 200_000 {
            run(&Case {
                memory_bytes: MIB,
                script: with_ballast(MIB - memory_bytes, &benign.script),
                ..benign.clone()
            });
            memory_bytes -= LIMIT_STEP_BYTES;
        }
    }
}

fn with_ballast(bytes: u64, script: &TestScript) -> TestScript {
    let code = &script.code;
    TestScript {
        code: format!("const ballast = 'x'.repeat({bytes}); {code}"),
        ..script.clone()
    }
}

fn benign_scripts() -> impl Iterator<Item = TestScript> {
    let plain = SCRIPTS.iter().map(|(code, _)| TestScript::from(*code));
    let of_kinds = KINDS.iter().map(|(kind, code, modules, _)| {
        let modules = modules.iter().map(|(name, text)| Source {
            file_name: (*name).to_owned(),
            text: (*text).to_owned(),
        });
        TestScript {
            code: (*code).to_owned(),
            kind: *kind,
            modules: modules.collect(),
            ..TestScript::default()
        }
    });
    let typescript = TYPESCRIPT.iter().map(|(code, _)| TestScript {
        language: Language::TypeScript,
        ..TestScript::from(*code)
    });
    plain.chain(of_kinds).chain(typescript)
}

/// Returns long texts for the compiler and other large requests. Each large block is refused in turn, alone and with
/// all later ones; the script catches the error, or does not. In this build a block is large from 64 KiB on, so that a
/// thousand texts can be tried.
pub(crate) fn large(mut run: impl FnMut(&Case) -> bool) {
    const TIMEOUT_MS: u32 = 30_000;
    for wish in WISHES {
        let acts = if wish.is_text {
            vec![
                format!("const text = {}; eval(text); 1", wish.code),
                format!("const text = {}; new Function(text); 1", wish.code),
                format!(
                    "const text = 'function f() {{' + {} + '}}'; (0, eval)(text); 1",
                    wish.code
                ),
            ]
        } else {
            vec![format!("{}; 1", wish.code)]
        };
        for act in acts {
            let caught = format!(
                "try {{ {act} }} catch {{}} const a = []; for (let i = 0; i < 999; i++) a.push([i]); eval('1+1')"
            );
            let kinds: [(&str, fn(u64) -> Refusals); 3] = [
                (&act, Refusals::OneLarge),
                (&caught, Refusals::OneLarge),
                (&caught, Refusals::AllLargeFrom),
            ];
            for (code, refusals) in kinds {
                let case = Case {
                    memory_bytes: 64 * MIB,
                    is_benign: true,
                    ..Case::new(code.as_str(), TIMEOUT_MS)
                };
                let mut number = 1;
                while run(&Case {
                    refusals: refusals(number),
                    ..case.clone()
                }) && number < 60
                {
                    number += 1;
                }
            }
        }
    }
}

struct Wish {
    code: &'static str,
    is_text: bool,
}

const fn text(code: &'static str) -> Wish {
    Wish {
        code,
        is_text: true,
    }
}

const fn act(code: &'static str) -> Wish {
    Wish {
        code,
        is_text: false,
    }
}

const WISHES: &[Wish] = &[
    text("'1+'.repeat(6e4) + '1'"),
    text("'[' + '1.5,'.repeat(3e4) + ']'"),
    text("'\"' + 'x'.repeat(11e4) + '\"'"),
    text("'\"' + '\u{e9}'.repeat(7e4) + '\"'"),
    text("'`' + '${1}x'.repeat(2e4) + '`'"),
    text("'/' + 'ab|'.repeat(6e3) + '/'"),
    text("'/*' + 'x'.repeat(11e4) + '*/'"),
    text("'g();'.repeat(2e4).replace(/^/, 'if (0) {') + '}'"),
    text("'{let a = 1}'.repeat(1e4)"),
    text("'x: for (;;) { break x }'.repeat(5e3)"),
    text("'switch (1) {' + 'case 2: break;'.repeat(8e3) + '}'"),
    text("'if (0) {' + 'while (0) { continue }'.repeat(5e3) + '}'"),
    text("'try { 1 } catch (e) { 2 } finally { 3 }'.repeat(3e3)"),
    text("'class A {' + 'm() { return 1 }'.repeat(7e3) + '}'"),
    text("'class A {' + Array.from({length: 2e3}, (_, i) => '#p' + i + ' = 1;').join('') + '}'"),
    text("'({' + Array.from({length: 8e3}, (_, i) => 'k' + i + ': ' + i).join() + '})'"),
    text("'var ' + Array.from({length: 3e3}, (_, i) => 'v' + i).join()"),
    text("'function f(a) { return () => a }'.repeat(4e3)"),
    text("'function f() { return \"' + 'y'.repeat(11e4) + '\" }'"),
    text("'var ' + 'n'.repeat(11e4) + ' = 1'"),
    text("'1;\\n'.repeat(4e4)"),
    act("new ArrayBuffer(2e5).slice(1)"),
    act("'x'.repeat(2e5).toUpperCase().split('').reverse().join('').replace(/x/gi, 'yy')"),
    act("JSON.parse('[' + '1,'.repeat(5e4) + '1]').map(String).join()"),
    act("JSON.stringify(new Array(3e4).fill('abc'))"),
    act("new Uint8Array(2e5).fill(1).map((x) => x).toSorted().subarray(1).slice()"),
    act("(1n << 900000n).toString(16).length; (1n << 900000n) * 3n + 1n"),
    act("new RegExp('(?:a|b)'.repeat(1e4)).exec('ab')"),
    act("/(a|b)*c/.exec('ab'.repeat(3e4))"),
    act("new Array(2e4).fill(0).concat(new Array(2e4).fill(1)).toSpliced(3, 4).flat().with(1, 2)"),
    act("[...'x'.repeat(3e4)].entries().toArray()"),
    act(
        "new Map(Array.from({length: 1e4}, (_, i) => [i, i])); new Set(Array.from({length: 1e4}, (_, i) => i))",
    ),
    act(
        "String.fromCharCode(...new Array(30000).fill(233)).normalize('NFD').repeat(20).localeCompare('x')",
    ),
    act(
        "const b = new ArrayBuffer(2e5, {maxByteLength: 8e5}); b.resize(8e5); b.transfer(7e5).transferToFixedLength(3e5)",
    ),
    act(
        "encodeURIComponent('\u{e9}'.repeat(3e4)); escape('\u{20ac}'.repeat(3e4)); btoa('x'.repeat(2e5))",
    ),
    act("Function.prototype.toString.call(eval('(function () {' + 'x;'.repeat(6e4) + '})'))"),
    act("console.log('\u{e9}'.repeat(2e5), new Array(1e4).fill('\u{e9}')); '\u{e9}'.repeat(3e4)"),
    act(
        "throwing(); function throwing() { try { throw new Error('\u{e9}'.repeat(2e5)) } catch (e) { String(e.stack) + e.message } }",
    ),
];

/// The control: an engine that continues after a refusal, which no execution of the service does. The sanitizers must
/// find a fault. Returns whether `run` reported one for any of these scripts.
pub(crate) fn control(mut run: impl FnMut(&Case) -> bool) -> bool {
    const TIMEOUT_MS: u32 = 5_000;
    const TEXT: &str =
        "const text = 'switch (1) {' + 'case 2: break;'.repeat(60) + '}'; eval(text)";
    (1..600).any(|number| {
        run(&Case {
            refusals: Refusals::Ignored(number),
            ..Case::new(TEXT, TIMEOUT_MS)
        })
    })
}

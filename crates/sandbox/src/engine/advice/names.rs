//! Names that scripts of other systems use and that do not exist here.

/// Names, and what to do instead.
const MISSING: &[(&[&str], &str)] = &[
    (
        &["require"],
        "There is no `require`. Code of a package can be sent in `modules` and imported, or be part of the script",
    ),
    (
        &["module", "exports"],
        "There is no CommonJS. The value of the last expression is the result, without `module.exports`",
    ),
    (
        &["process"],
        "There is no `process`. Pass arguments and settings as `input` or `globals`",
    ),
    (
        &["Buffer"],
        "There is no `Buffer`. Use Uint8Array with `toBase64`, `fromBase64`, `toHex` and `fromHex`, or `atob` and `btoa`",
    ),
    (
        &["XMLHttpRequest", "WebSocket", "EventSource", "axios"],
        "Scripts have no network. Fetch the data before, and pass it as `input`",
    ),
    (
        &["fs", "path", "os", "__dirname", "__filename", "Deno", "Bun"],
        "Scripts have no files and no system. Pass the data as `input`",
    ),
    (
        &[
            "window",
            "document",
            "location",
            "localStorage",
            "sessionStorage",
            "alert",
            "prompt",
            "confirm",
            "requestAnimationFrame",
            "HTMLElement",
        ],
        "There is no page around a script. Pass data as `input`, log with `console.log`, and use `globalThis` for `window`",
    ),
    (
        &["global"],
        "Use `globalThis`, which every JavaScript system has, in place of `global`",
    ),
    (
        &["setImmediate"],
        "Use `setTimeout(f)` or `queueMicrotask(f)` in place of `setImmediate`",
    ),
    (
        &["Intl"],
        "`Intl` is not available yet. `toLocaleString` and `localeCompare` work without a locale and options",
    ),
    (
        &["Temporal"],
        "`Temporal` is not available yet. Use `Date`, which is in UTC here",
    ),
    (
        &["WebAssembly"],
        "There is no WebAssembly. Scripts are JavaScript",
    ),
    (
        &["Worker", "SharedWorker", "importScripts"],
        "A script has one thread. Submit several jobs to compute at the same time",
    ),
    (
        &["lodash", "_", "moment", "dayjs", "$", "jQuery"],
        "There are no libraries. Code of a library can be sent in `modules` and imported, or be part of the script",
    ),
    (
        &["input"],
        "The request has no `input`. Send one, or use `typeof input === \"undefined\"` to ask for it",
    ),
    (
        &["print", "None", "True", "False"],
        "The script must be JavaScript: `console.log`, `null`, `true` and `false`",
    ),
];

/// Returns a hint for the message of a ReferenceError.
pub(super) fn hint_for(message: &str) -> Option<&'static str> {
    let name = message.strip_suffix(" is not defined")?;
    let name = name.trim_matches('\'');
    let mut missing = MISSING.iter();
    let (_, hint) = missing.find(|(names, _)| names.contains(&name))?;
    Some(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_name_has_one_hint() {
        let names = MISSING.iter().flat_map(|(names, _)| names.iter());
        let mut seen = HashSet::new();
        for name in names {
            assert!(seen.insert(name), "{name}");
            let message = format!("{name} is not defined");
            assert!(hint_for(&message).is_some(), "{name}");
        }
        assert_eq!(hint_for("something is not defined"), None);
        assert_eq!(hint_for("Buffer is broken"), None);
    }
}

//! Differences between a script and its log.

use sandpiper_domain::JsonText;
use sandpiper_domain::tools::{Call, Refusal, ToolName, is_same_json};

/// The script does something else than its log says, for this reason.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Divergence(pub(super) String);

/// Compares a call with that of the log.
pub(super) fn check_call(
    logged: &Call,
    name: &ToolName,
    argument: Option<&str>,
    refused: Option<Refusal>,
) -> Result<(), Divergence> {
    let is_same_argument = match (&logged.argument, argument) {
        (Some(logged), Some(argument)) => is_same_json(logged.as_str(), argument),
        (None, None) => true,
        (None, Some(_)) | (Some(_), None) => false,
    };
    if logged.name == *name && is_same_argument && logged.refused == refused {
        return Ok(());
    }
    let text = |argument: Option<&str>| clipped(argument.unwrap_or("nothing"));
    Err(Divergence(format!(
        "call {} is `{name}` with {} now, and was `{}` with {} in the log",
        logged.seq,
        text(argument),
        logged.name,
        text(logged.argument.as_ref().map(JsonText::as_str)),
    )))
}

/// Returns the start of a text, for a message.
pub(super) fn clipped(text: &str) -> String {
    const BYTES_MAX: usize = 1024;
    if text.len() <= BYTES_MAX {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(BYTES_MAX)])
}

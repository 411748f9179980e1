//! Call stacks as they are shown to the user: without the service's frames, and with columns as editors count them.
//!
//! In scope: parsing the engine's frames and translating their columns. Out of scope: the source of a stack. Guest code
//! can put any text into an error's `stack`, so nothing here trusts it, and the work is bounded. Called by `failure`,
//! `console` and `convert`.

use super::host::Host;
use super::realm::PRELUDE_FILE_NAME;
use sandpiper_domain::ScriptKind;

/// Most frames whose columns are translated. The engine writes ten unless the script asks for more. A forged stack may
/// have thousands, and each frame costs a search for its line.
const FRAMES_TRANSLATED_MAX: usize = 64;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file_name: String,
    /// Line, from 1.
    pub(super) line: u32,
    /// Column, from 1, in UTF-16 units as in JavaScript and editors.
    pub(super) column: Option<u32>,
}

/// Returns a stack without the host's frames.
pub(super) fn for_the_user(host: &Host, stack: &str) -> String {
    let mut shown = String::with_capacity(stack.len());
    let guest_frames = stack
        .lines()
        .filter(|line| !line.contains(PRELUDE_FILE_NAME));
    for (index, frame) in guest_frames.enumerate() {
        if index > 0 {
            shown.push('\n');
        }
        let position = (index < FRAMES_TRANSLATED_MAX)
            .then(|| Position::of(frame))
            .flatten();
        let Some(position) = position else {
            shown.push_str(frame);
            continue;
        };
        if position.is_of_wrapper(host) {
            shown.push_str(position.before_line);
            shown.push_str(":1:1");
            shown.push_str(position.after_column);
            continue;
        }
        if position.line == 0 {
            // The engine knows no line in the fields of a class.
            shown.push_str(position.before_line);
            shown.push_str(position.after_column);
            continue;
        }
        match position.translated(host) {
            Some((before, column, after)) => {
                shown.push_str(before);
                shown.push_str(&column.to_string());
                shown.push_str(after);
            }
            None => shown.push_str(frame),
        }
    }
    shown
}

/// Returns the first frame in one of the user's sources. `stack` comes from [`for_the_user`].
pub(super) fn first_place(host: &Host, stack: &str) -> Option<Place> {
    stack.lines().find_map(|frame| {
        let position = Position::of(frame)?;
        host.source(position.file_name)?;
        Some(Place {
            file_name: position.file_name.to_owned(),
            line: position.line,
            column: (position.column > 0).then_some(position.column),
        })
    })
}

/// One line of a stack.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// The name of the function; empty for the place of a syntax error.
    pub(super) function: String,
    /// The name of the source; `native` for a built-in function.
    pub(super) file_name: String,
    /// Line, from 1; 0 if the engine does not know it.
    pub(super) line: u32,
    /// Column, from 1; 0 if the engine does not know it.
    pub(super) column: u32,
}

/// Returns the frames of a stack, innermost first. `stack` comes from [`for_the_user`].
pub(super) fn frames(stack: &str) -> impl Iterator<Item = Frame> {
    stack.lines().filter_map(|line| {
        let called = line.trim_start().strip_prefix("at ")?;
        let (function, position) = match called.rsplit_once(" (") {
            Some((function, inside)) => (function, inside.strip_suffix(')')?),
            None => ("", called),
        };
        let known = Position::of(line);
        Some(Frame {
            function: function.to_owned(),
            file_name: known
                .as_ref()
                .map_or(position, |known| known.file_name)
                .to_owned(),
            line: known.as_ref().map_or(0, |known| known.line),
            column: known.as_ref().map_or(0, |known| known.column),
        })
    })
}

/// Returns the innermost frame of a stack.
pub(super) fn first_frame(stack: &str) -> Option<Frame> {
    frames(stack).next()
}

/// The position of a frame. Frames read `    at name (file:line:column)`, and those of a SyntaxError `    at
/// file:line:column`.
struct Position<'a> {
    file_name: &'a str,
    line: u32,
    column: u32,
    before_line: &'a str,
    before_column: &'a str,
    after_column: &'a str,
}

impl<'a> Position<'a> {
    fn of(frame: &'a str) -> Option<Self> {
        let called = frame.trim_start().strip_prefix("at ")?;
        let (position, after_column) = match called.rsplit_once(" (") {
            Some((_, inside)) => (inside.strip_suffix(')')?, ")"),
            None => (called, ""),
        };
        let mut parts = position.rsplitn(3, ':');
        let column = parts.next()?;
        let line = parts.next()?;
        let before = frame.len() - after_column.len() - column.len();
        let before_line = before - line.len() - ":".len() * 2;
        Some(Self {
            file_name: parts.next()?,
            before_line: &frame[..before_line],
            line: line.parse().ok()?,
            column: column.parse().ok()?,
            before_column: &frame[..before],
            after_column,
        })
    }

    /// Returns whether the position is that of the wrapper around a function's body (`kinds`). The engine gives the start
    /// of a function for what comes before its first statement with a position.
    fn is_of_wrapper(&self, host: &Host) -> bool {
        self.line == 0
            && self.before_line.contains(" at <anonymous> (")
            && host.kind_of(self.file_name) == Some(ScriptKind::Function)
    }

    /// Returns the position with its column in UTF-16 units; `None` if the engine's count of bytes is the same, or if
    /// the position is not in the user's text.
    fn translated(&self, host: &Host) -> Option<(&'a str, usize, &'a str)> {
        let source = host.source(self.file_name)?;
        if source.is_ascii() {
            return None;
        }
        let line = source.split('\n').nth(index_of(self.line)?)?;
        let before = line.get(..index_of(self.column)?)?;
        let units = before.encode_utf16().count();
        Some((self.before_column, units + 1, self.after_column))
    }
}

/// Converts a number from 1 to an index from 0.
fn index_of(number: u32) -> Option<usize> {
    usize::try_from(number).ok()?.checked_sub(1)
}

//! The places of imports in a text, for the errors of which the engine knows no place.
//!
//! In scope: finding `from "x"`, `import "x"` and `import("x")` in a text. Nothing is parsed: a comment or a string that
//! looks like an import is taken for one, and a specifier that is written with escapes or computed is not found. The
//! result is only a place in a message. Called by `modules` and `failure`.

use super::host::Host;
use sandpiper_domain::resolve_module;
use std::fmt;

/// Longest clause of an import that is searched for a name, bytes.
const CLAUSE_BYTES_MAX: usize = 4096;

/// A position as the engine counts: line and column from 1, the column in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.line, self.column)
    }
}

/// Returns the place at which `text` imports `specifier`.
pub(super) fn place_of(text: &str, specifier: &str) -> Option<Position> {
    let found = specifiers(text).find(|(_, found)| *found == specifier);
    found.map(|(start, _)| position(text, start))
}

/// Returns the file and the place of the import of `name` from the module `module`, or else of its re-export there.
pub(super) fn place_of_name<'h>(
    host: &'h Host,
    module: &'h str,
    name: &str,
) -> Option<(&'h str, Position)> {
    let imported = host.module_texts().find_map(|(importer, text)| {
        let is_of_module = |specifier: &str| resolve_module(importer, specifier) == module;
        let place = place_in_clauses(text, name, is_of_module)?;
        Some((importer, place))
    });
    imported.or_else(|| {
        let text = host.source(module)?;
        let place = place_in_clauses(text, name, |_| true)?;
        Some((module, place))
    })
}

/// Returns the file and the place of an export of `name` that the exporting text does not have. A text that has the word
/// nowhere else comes first.
pub(super) fn place_of_export<'h>(host: &'h Host, name: &str) -> Option<(&'h str, Position)> {
    let exports = host.module_texts().filter_map(|(file, text)| {
        let (clause, offset) = place_in_exports(text, name)?;
        let elsewhere = words_in(text, name).count() - words_in(clause, name).count();
        Some((elsewhere, file, position(text, offset)))
    });
    let first = exports.min_by_key(|(elsewhere, _, _)| *elsewhere);
    first.map(|(_, file, place)| (file, place))
}

/// Returns the first `{ … }` of an export without a specifier that has `name`, and the byte of the name.
fn place_in_exports<'t>(text: &'t str, name: &str) -> Option<(&'t str, usize)> {
    words_in(text, "export").find_map(|export| {
        let behind = export + "export".len();
        let open = behind + text[behind..].find(|next: char| !next.is_whitespace())?;
        let clause = text[open..].strip_prefix('{')?;
        let (clause, rest) = clause.split_once('}')?;
        if rest.trim_start().starts_with("from") {
            return None;
        }
        Some((clause, open + 1 + word_in(clause, name)?))
    })
}

/// Returns the place of `name` in the first import or export whose specifier is wanted.
fn place_in_clauses(text: &str, name: &str, is_wanted: impl Fn(&str) -> bool) -> Option<Position> {
    specifiers(text)
        .filter(|(_, specifier)| is_wanted(specifier))
        .find_map(|(end, _)| {
            let start = clause_start(text, end)?;
            let clause = text.get(start..end)?;
            let offset = match word_in(clause, name) {
                Some(offset) => offset,
                // `import x from` has no such word.
                None if name == "default" => 0,
                None => return None,
            };
            Some(position(text, start + offset))
        })
}

/// Returns each quoted specifier of an import, with the byte at which its quote stands.
fn specifiers(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let quotes = text.match_indices(['"', '\'']);
    quotes.filter_map(|(start, quote)| {
        let before = text[..start].trim_end();
        let before = before.strip_suffix('(').map_or(before, str::trim_end);
        if !before.ends_with("from") && !before.ends_with("import") {
            return None;
        }
        let rest = &text[start + 1..];
        let line = rest.split('\n').next()?;
        line.find(quote).map(|end| (start, &line[..end]))
    })
}

/// Returns the start of the `import` or `export` whose specifier begins at `end`.
fn clause_start(text: &str, end: usize) -> Option<usize> {
    let first = text.ceil_char_boundary(end.saturating_sub(CLAUSE_BYTES_MAX));
    let before = text.get(first..end)?;
    let last = |keyword| words_in(before, keyword).last();
    let keyword = last("import").max(last("export"))?;
    Some(first + keyword)
}

fn word_in(text: &str, word: &str) -> Option<usize> {
    words_in(text, word).next()
}

/// Returns each place at which `word` stands in `text` as a whole word.
fn words_in<'t>(text: &'t str, word: &'t str) -> impl Iterator<Item = usize> + 't {
    let is_part = |character: char| character.is_alphanumeric() || matches!(character, '_' | '$');
    let places = text.match_indices(word).map(|(place, _)| place);
    places.filter(move |place| {
        let before = text[..*place].chars().next_back();
        let after = text[place + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// Returns the position of a byte of `text`.
pub(super) fn position(text: &str, byte: usize) -> Position {
    let before = &text[..byte];
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    Position {
        line: before.matches('\n').count() + 1,
        column: byte - line_start + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_is_found_where_its_specifier_stands() {
        let text = "const s = \"./a.js\";\nimport { x } from './a.js';\n  await import ( \"./b.js\" )\nexport * from\n\"c\"; import'd'";
        for (specifier, line, column) in [
            ("./a.js", 2, 19),
            ("./b.js", 3, 18),
            ("c", 5, 1),
            ("d", 5, 12),
        ] {
            let expected = Position { line, column };
            assert_eq!(place_of(text, specifier), Some(expected), "{specifier}");
        }
        assert_eq!(place_of(text, "./c.js"), None);
    }

    #[test]
    fn a_name_in_an_export_is_found() {
        let text = "export const x = 1; export { y as z } from './a.js';\nexport {\n  x,\n  y as default }";
        let place = |name| place_in_exports(text, name).map(|(_, at)| position(text, at));
        assert_eq!(place("y"), Some(Position { line: 4, column: 3 }));
        assert_eq!(place("x"), Some(Position { line: 3, column: 3 }));
        assert_eq!(place("z"), None);
    }

    #[test]
    fn a_name_is_a_whole_word() {
        assert_eq!(word_in("import { axe, ax as y } from ", "ax"), Some(14));
        assert_eq!(word_in("import { axe }", "ax"), None);
        assert_eq!(word_in("import { é }", "é"), Some(9));
    }
}

//! Positions in a text: bytes from its begin, and lines and columns as editors count them.

/// Returns the position of a line and a column, both from 1. Columns count UTF-16 units.
pub(super) fn offset(source: &str, line: u32, column: u32) -> Option<usize> {
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    let column = usize::try_from(column).ok()?.checked_sub(1)?;
    let start: usize = source.split_inclusive('\n').take(line).map(str::len).sum();
    let text = source.get(start..)?;
    let mut units = 0;
    let found = text.char_indices().find(|(_, character)| {
        let is_there = units >= column;
        units += character.len_utf16();
        is_there
    });
    found.map(|(at, _)| start + at)
}

/// Returns line and column of a position.
pub(super) fn place(source: &str, position: usize) -> (u32, u32) {
    let before = source.get(..position).unwrap_or(source);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |text| text.encode_utf16().count());
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    (number(line), number(column + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_has_a_line_and_a_column_of_utf16_units() {
        let source = "é😀x\n\n  y";
        for (text, line, column) in [("x", 1, 4), ("y", 3, 3), ("é", 1, 1)] {
            let position = source.find(text).unwrap();
            assert_eq!(place(source, position), (line, column));
            assert_eq!(offset(source, line, column), Some(position));
        }
        assert_eq!(offset(source, 0, 1), None);
        assert_eq!(offset(source, 9, 1), None);
        assert_eq!(offset("", 1, 1), None);
    }
}

//! Moves the zygote's code to huge pages, so that a fork is cheap.
//!
//! A fork does not copy the page tables of a mapped file. Each child would take a page fault for every few pages of
//! code that it runs (some forty faults for `1 + 2`), and all processes would contend for the same page counts. With
//! the code in anonymous huge pages, a fork copies one entry for two megabytes and the child takes no fault. Bytes,
//! addresses and protection stay the same, and executable memory is never writable.
//!
//! This is an optimisation and no isolation layer. Where the kernel grants no huge pages, everything stays as it was.
//! Small anonymous pages would cost more than the file, so a move is either complete or not made.

use super::code_mover::CodeMover;
use super::mappings::{self, Mapping};
use super::sys;
use std::fs;
use std::ops::Range;

/// Size of a huge page, bytes, on every machine that this program is built for.
const HUGE: usize = 2 << 20;

/// Moves the read-only mappings of this program to huge pages, as far as the kernel grants them.
pub(super) fn move_to_huge_pages() {
    let mappings = mappings::of_this_process();
    let Some(program) = mappings::program(&mappings) else {
        return;
    };
    let Some(mover) = CodeMover::new() else {
        return;
    };
    for mapping in mappings.iter().filter(|mapping| mapping.path == program) {
        let is_executable = match mapping.rights.as_str() {
            "r-xp" => true,
            "r--p" => false,
            _ => continue,
        };
        let whole = huge_range(&mapping.range);
        if covers_only(&whole, mapping, &mappings) {
            let range = &mapping.range;
            sys::replace_by_huge_pages(&mover, range, &whole, HUGE, is_executable, is_huge);
        }
    }
}

fn huge_range(range: &Range<usize>) -> Range<usize> {
    range.start / HUGE * HUGE..range.end.div_ceil(HUGE) * HUGE
}

/// Returns whether `whole` covers nothing but `own` and holes.
fn covers_only(whole: &Range<usize>, own: &Mapping, all: &[Mapping]) -> bool {
    all.iter()
        .filter(|other| *other != own && other.rights != "---p")
        .all(|other| other.range.end <= whole.start || other.range.start >= whole.end)
}

/// Returns whether all of `range`, which is one mapping, lies on huge pages.
fn is_huge(range: &Range<usize>) -> bool {
    let head = format!("{:x}-{:x} ", range.start, range.end);
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    smaps
        .lines()
        .skip_while(|line| !line.starts_with(&head))
        .find_map(|line| line.strip_prefix("AnonHugePages:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok())
        .is_some_and(|kibibytes| kibibytes * 1024 == range.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_holes_are_covered() {
        let mapping = |start, end, rights: &str| Mapping {
            range: start..end,
            rights: rights.to_owned(),
            path: String::new(),
        };
        let own = mapping(HUGE + 4096, 2 * HUGE, "r-xp");
        let whole = huge_range(&own.range);
        assert_eq!(whole, HUGE..2 * HUGE);
        let hole = mapping(0, HUGE + 4096, "---p");
        assert!(covers_only(&whole, &own, &[hole.clone(), own.clone()]));
        let data = mapping(0, HUGE + 4096, "rw-p");
        assert!(!covers_only(&whole, &own, &[data, own.clone()]));
    }
}

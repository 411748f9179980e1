//! The zygote's own code on huge pages, so that a fork is cheap.
//!
//! A fork copies no page table of a mapped file: every child would take a page fault for each few pages of code that it
//! runs, some forty of them for `1 + 2`, and all processes would quarrel over the same page counts. Copied to anonymous
//! huge pages the code costs a fork one entry for two megabytes, and the child nothing. Same bytes, same addresses, same
//! protection; memory that may run is never writable. Comfort, not a wall: where the kernel gives no huge pages,
//! everything stays as it was. Small pages would be worse than the file, so nothing is half done.

use super::code_mover::CodeMover;
use super::mappings::{self, Mapping};
use super::sys;
use std::fs;
use std::ops::Range;

/// What the kernel calls huge on every machine this is built for.
const HUGE: usize = 2 << 20;

/// Moves the read-only mappings of this program to huge pages, as far as the kernel has them.
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
        if is_alone_in(&whole, mapping, &mappings) {
            let range = &mapping.range;
            sys::replace_by_huge_pages(&mover, range, &whole, HUGE, is_executable, is_huge);
        }
    }
}

fn huge_range(range: &Range<usize>) -> Range<usize> {
    range.start / HUGE * HUGE..range.end.div_ceil(HUGE) * HUGE
}

/// Whether nothing but holes would be covered beside `own`.
fn is_alone_in(whole: &Range<usize>, own: &Mapping, all: &[Mapping]) -> bool {
    all.iter()
        .filter(|other| *other != own && other.rights != "---p")
        .all(|other| other.range.end <= whole.start || other.range.start >= whole.end)
}

/// Whether all of `range`, which is one mapping, really lies on huge pages.
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
        assert!(is_alone_in(&whole, &own, &[hole.clone(), own.clone()]));
        let data = mapping(0, HUGE + 4096, "rw-p");
        assert!(!is_alone_in(&whole, &own, &[data, own.clone()]));
    }
}

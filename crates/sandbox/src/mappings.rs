//! The memory mappings of this process, as the kernel reports them.

use std::fs;
use std::ops::Range;

/// A line of `/proc/self/maps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) range: Range<usize>,
    pub(super) rights: String,
    pub(super) path: String,
}

/// Returns all mappings, sorted by address. Returns none where the kernel does not list them.
pub(super) fn of_this_process() -> Vec<Mapping> {
    let text = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    text.lines().filter_map(parse).collect()
}

/// Returns the path of this program among its own mappings: the path of the mapping that holds this function.
/// (`/proc/self/exe` gives another path once the file has been replaced.)
pub(super) fn program(mappings: &[Mapping]) -> Option<String> {
    let here = (program as *const ()).addr();
    let own = mappings
        .iter()
        .find(|mapping| mapping.range.contains(&here))?;
    Some(own.path.clone())
}

fn parse(line: &str) -> Option<Mapping> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let rights = words.next()?.to_owned();
    let path = words.nth(3).unwrap_or_default().to_owned();
    Some(Mapping {
        range: usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?,
        rights,
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_read_from_its_line() {
        let line =
            "55d0c0200000-55d0c0600000 r-xp 00200000 fe:00 42                     /bin/sandpiper";
        let mapping = parse(line).unwrap();
        assert_eq!(mapping.range, 0x55d0_c020_0000..0x55d0_c060_0000);
        assert_eq!(
            (mapping.rights.as_str(), mapping.path.as_str()),
            ("r-xp", "/bin/sandpiper")
        );
    }
}

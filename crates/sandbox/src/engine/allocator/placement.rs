//! Placement of the blocks that executions write to, learned by observing some executions.
//!
//! An engine that was just built has thousands of blocks. An execution writes to some hundred of them: reference counts
//! and heads of lists. They are scattered, and each may cost every child a page copy. Therefore, before the first
//! engine is built for good, an engine is built in a process that is thrown away, a script runs in it, and the blocks
//! that it writes to are noted ([`watch`](super::watch)). A heap hands out blocks in the same order whenever an engine is
//! built, so the number of a block identifies it. Later heaps place the noted blocks next to each other.
//!
//! If the order did differ, blocks would merely stay scattered.

use super::heap::STEP_BYTES;
use super::pages::PAGE_BYTES;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A block: its number in the order of allocation, and its size in steps.
type Block = (u32, u32);

/// Blocks that an execution has written to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written(Vec<Block>);

/// The order of blocks: those of the first area, then those of the second, then all others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placement(Vec<Written>);

impl Placement {
    /// Adds an area for the blocks of `written` that are in no area yet.
    pub(crate) fn add(&mut self, written: Written) {
        let is_new = |block: &Block| !self.0.iter().any(|area| area.0.contains(block));
        let new = written.0.into_iter().filter(is_new).collect();
        self.0.push(Written(new));
    }
}

/// State beside a heap while an engine is built on it.
#[derive(Debug, Default)]
pub(super) struct Warming {
    /// Blocks allocated so far.
    count: usize,
    /// By the number of a block: one more than its area; 0 for most blocks.
    area_of: Vec<u8>,
    areas: Vec<Room>,
    /// By steps from the start of the room: one more than the number of the block that begins there. Empty unless
    /// blocks are noted.
    noted: Vec<u32>,
    /// The end of the areas, bytes from the start of the room.
    end_of_areas: usize,
}

/// Part of a room, bytes from its start.
#[derive(Debug, Clone, Copy)]
struct Room {
    next: usize,
    end: usize,
}

impl Warming {
    /// Returns a state that notes the position of each block in a room of so many bytes, and places blocks by `placement`.
    pub(super) fn noting(room_bytes: usize, placement: &Placement) -> Self {
        Self {
            noted: vec![0; room_bytes / STEP_BYTES],
            ..Self::placing(placement)
        }
    }

    /// Returns a state that places blocks by `placement`.
    pub(super) fn placing(placement: &Placement) -> Self {
        let mut warming = Self::default();
        for (area, number) in placement.0.iter().zip(1..) {
            let mut bytes = 0;
            for (block, steps) in &area.0 {
                let block = *block as usize;
                if warming.area_of.len() <= block {
                    warming.area_of.resize(block + 1, 0);
                }
                warming.area_of[block] = number;
                bytes += *steps as usize * STEP_BYTES;
            }
            warming.areas.push(Room {
                next: 0,
                end: bytes,
            });
        }
        warming
    }

    /// Puts the areas at the start of `free` (bytes from the start of the room) and returns their end. Blocks that do
    /// not fit are not placed. If blocks are noted, the areas have pages of their own.
    pub(super) fn place_areas(&mut self, free: Range<usize>) -> usize {
        let mut next = free.start;
        for area in &mut self.areas {
            let bytes = area.end.min(free.end.saturating_sub(next));
            *area = Room {
                next,
                end: next + bytes,
            };
            next += bytes;
        }
        if !self.noted.is_empty() {
            next = next.next_multiple_of(PAGE_BYTES);
        }
        self.end_of_areas = next;
        next
    }

    /// Returns the end of the areas, bytes from the start of the room.
    pub(super) fn end_of_areas(&self) -> usize {
        self.end_of_areas
    }

    /// Counts the next block. Returns its position if it is placed.
    pub(super) fn place(&mut self, bytes: usize) -> Option<usize> {
        let number = self.count;
        self.count += 1;
        let area = usize::from(*self.area_of.get(number)?).checked_sub(1)?;
        let room = self.areas.get_mut(area)?;
        let start = room.next;
        if bytes > room.end - start {
            return None;
        }
        room.next += bytes;
        Some(start)
    }

    /// Notes that the block that was counted last begins at `start`.
    pub(super) fn note(&mut self, start: usize) {
        if let Some(noted) = self.noted.get_mut(start / STEP_BYTES) {
            *noted = u32::try_from(self.count).unwrap_or_default();
        }
    }

    /// Returns the blocks in which `positions` lie, bytes from the start of the room. `size` returns the steps of the
    /// block that begins at a position.
    pub(super) fn blocks_at(
        &self,
        positions: impl Iterator<Item = usize>,
        size: impl Fn(usize) -> u32,
    ) -> Written {
        // A block may be longer than a step: the last one that begins at a position or before.
        let begin = |position: usize| {
            let steps = self.noted.get(..=position / STEP_BYTES)?;
            steps.iter().rposition(|noted| *noted > 0)
        };
        let mut steps: Vec<_> = positions.filter_map(begin).collect();
        steps.dedup();
        let mut written: Vec<_> = steps
            .into_iter()
            .map(|step| (self.noted[step] - 1, size(step * STEP_BYTES)))
            .collect();
        written.sort_unstable();
        Written(written)
    }
}

#[cfg(test)]
mod tests {
    use super::super::heap::{Heap, usable_size};
    use super::*;
    use std::ptr::NonNull;

    /// Builds a stand-in for an engine: a thousand blocks, some of them freed on the way. Returns every tenth.
    fn build(heap: &mut Heap) -> Vec<*mut u8> {
        let mut kept = Vec::new();
        for number in 0..1_000 {
            let block = heap.alloc(number % 90 + 1);
            if number % 7 == 3 {
                // SAFETY: the block is live.
                unsafe { heap.dealloc(NonNull::new(block).unwrap()) };
            } else if number % 10 == 0 {
                kept.push(block);
            }
        }
        kept
    }

    fn pages(blocks: &[*mut u8]) -> usize {
        let mut pages: Vec<_> = blocks
            .iter()
            .map(|block| block.addr() / PAGE_BYTES)
            .collect();
        pages.sort_unstable();
        pages.dedup();
        pages.len()
    }

    #[test]
    fn what_was_written_to_lies_together_the_next_time() {
        let mut first = Heap::new();
        let noting = Warming::noting(first.capacity(), &Placement::default());
        first.warm_with(Box::new(noting));
        let kept = build(&mut first);
        let last_byte = |block: &*mut u8| {
            // SAFETY: the block is live.
            let size = unsafe { usable_size(NonNull::new(*block).unwrap()) };
            block.addr() + size - 1
        };
        let addresses: Vec<_> = kept.iter().map(last_byte).collect();
        let all = first.blocks_at(&addresses);
        assert_eq!(all.0.len(), kept.len());
        let mut placement = Placement::default();
        placement.add(Written(all.0[..20].to_vec()));
        placement.add(all);
        assert_eq!(placement.0[1].0.len(), kept.len() - 20);

        let mut second = Heap::new();
        second.warm_with(Box::new(Warming::placing(&placement)));
        let again = build(&mut second);
        assert!(pages(&kept) > 8, "{} pages", pages(&kept));
        assert_eq!(pages(&again[..20]), 1);
        assert!(pages(&again) <= 2, "{} pages", pages(&again));
    }
}

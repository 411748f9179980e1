//! Placement of the blocks that executions write to, learned by observing some executions.
//!
//! An engine that was just built has thousands of blocks. An execution writes to a few dozen of them: reference counts
//! and heads of lists. They are scattered, and each may cost every child a page copy. Therefore, before the first
//! engine is built for good, an engine is built in a process that is thrown away, a script runs in it, and the blocks
//! that have changed are noted. A heap hands out blocks in the same order whenever an engine is built, so the number of
//! a block identifies it. Later heaps place the noted blocks next to each other.
//!
//! If the order did differ, blocks would merely stay scattered.

use super::heap::{HEADER_BYTES, STEP_BYTES};
use super::pages::PAGE_BYTES;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::ptr;

/// Each of the first calls of [`Warming::look_sometimes`] compares the room; of the later calls only one in
/// [`LOOKED_AT_EACH`] does, because a comparison takes some ten microseconds.
const LOOKED_AT_FIRST: usize = 200;
const LOOKED_AT_EACH: usize = 32;

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
    calls: usize,
    /// Content of the room when the engine had been built; empty before.
    was: Vec<u8>,
    /// By steps from the start of the room: true if the block that begins there has changed.
    changed: Vec<bool>,
}

/// Part of a room, bytes from its start.
#[derive(Debug, Clone, Copy)]
struct Room {
    next: usize,
    end: usize,
}

impl Warming {
    /// Returns a state that notes the position of each block in a room of so many bytes.
    pub(super) fn noting(room_bytes: usize) -> Self {
        Self {
            noted: vec![0; room_bytes / STEP_BYTES],
            changed: vec![false; room_bytes / STEP_BYTES],
            ..Self::default()
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
    /// not fit are not placed.
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
        next
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

    /// Notes that the block that was counted last begins at `start`. Blocks after the engine has been built are not
    /// noted.
    pub(super) fn note(&mut self, start: usize) {
        if !self.was.is_empty() {
            return;
        }
        if let Some(noted) = self.noted.get_mut(start / STEP_BYTES) {
            *noted = u32::try_from(self.count).unwrap_or_default();
        }
    }

    /// Starts to look for changes. The engine has been built, and the room's content is `was`.
    pub(super) fn look_for_changes(&mut self, was: Vec<u8>) {
        self.was = was;
    }

    /// Looks as [`Warming::look`] does, but not at every call. Reference counts go up and down again, so this must be
    /// called at every allocation and release.
    ///
    /// # Safety
    /// As for [`Warming::look`].
    pub(super) unsafe fn look_sometimes(&mut self, room: *const u8, bytes: usize) {
        if self.was.is_empty() {
            return;
        }
        self.calls += 1;
        if self.calls < LOOKED_AT_FIRST || self.calls.is_multiple_of(LOOKED_AT_EACH) {
            // SAFETY: guaranteed by the caller.
            unsafe { self.look(room, bytes) };
        }
    }

    /// Notes the blocks that have changed. Each page is copied before it is compared: other code owns the content of
    /// the room, this state included.
    ///
    /// # Safety
    /// `room` has so many bytes.
    pub(super) unsafe fn look(&mut self, room: *const u8, bytes: usize) {
        let mut page = [0; PAGE_BYTES];
        for (number, was) in self.was.chunks(PAGE_BYTES).enumerate() {
            let start = number * PAGE_BYTES;
            let length = was.len().min(bytes.saturating_sub(start));
            // SAFETY: the caller guarantees the length of the room, and the copy has the length of a page.
            unsafe { ptr::copy_nonoverlapping(room.add(start), page.as_mut_ptr(), length) };
            if was[..length] == page[..length] {
                continue;
            }
            let steps = was
                .chunks(STEP_BYTES)
                .zip(page[..length].chunks(STEP_BYTES));
            for ((was, is), step) in steps.zip(start / STEP_BYTES..) {
                if was != is {
                    // A block may be longer than a step: the last block that begins here or before has changed.
                    let block = (0..=step).rev().find(|step| self.noted[*step] > 0);
                    block
                        .into_iter()
                        .for_each(|block| self.changed[block] = true);
                }
            }
        }
    }

    /// Returns the blocks that have changed.
    pub(super) fn written(&self) -> Written {
        let mut written = Vec::new();
        for (step, changed) in self.changed.iter().enumerate() {
            let start = step * STEP_BYTES;
            let header = self.was.get(start..start + HEADER_BYTES);
            let steps = header.and_then(|header| header.try_into().ok());
            let steps = u32::try_from(steps.map_or(0, u64::from_le_bytes));
            if let (true, Ok(steps)) = (*changed, steps) {
                written.push((self.noted[step] - 1, steps));
            }
        }
        written.sort_unstable();
        Written(written)
    }
}

#[cfg(test)]
mod tests {
    use super::super::heap::Heap;
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
        first.warm_with(Box::new(Warming::noting(first.capacity())));
        let kept = build(&mut first);
        let mut noted = first.end_warming().unwrap();
        let (room, bytes) = first.room();
        // SAFETY: as many bytes have been handed out, and nothing writes to them now.
        noted.look_for_changes(unsafe { std::slice::from_raw_parts(room, bytes) }.to_vec());
        for block in &kept {
            // SAFETY: the block is live and has a byte.
            unsafe { block.write(0xee) };
        }
        // SAFETY: as above.
        unsafe { noted.look(room, bytes) };
        let all = noted.written();
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

//! Which blocks of a warm heap executions write to, learned by looking at some.
//!
//! An engine that was just built has thousands of blocks, and an execution writes to a few dozen: counts of references, heads of
//! lists. They lie all over, and each may be a page to copy for every child. So before the first engine is built for good, one
//! is built in a process that is thrown away, a script is run in it, and the blocks that have changed are noted. A heap hands
//! out blocks in the same order whenever an engine is built, so a block is known by its number; from then on those that were
//! written to are laid next to each other.
//!
//! Were the order another after all, blocks would lie where they lay before, and that is all.

use super::heap::{HEADER_BYTES, STEP_BYTES};
use super::pages::PAGE_BYTES;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::ptr;

/// Of so many calls to look each is heeded, and later one of so many: a look takes some ten microseconds.
const LOOKED_AT_FIRST: usize = 200;
const LOOKED_AT_EACH: usize = 32;

/// A block: its number in the order in which they are handed out, and what it takes, in steps.
type Block = (u32, u32);

/// Blocks that an execution has written to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written(Vec<Block>);

/// Where blocks are to lie: those of the first area before those of the second, and all others behind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placement(Vec<Written>);

impl Placement {
    /// Adds an area for what was `written` and has none yet.
    pub(crate) fn add(&mut self, written: Written) {
        let is_new = |block: &Block| !self.0.iter().any(|area| area.0.contains(block));
        let new = written.0.into_iter().filter(is_new).collect();
        self.0.push(Written(new));
    }
}

/// What a heap keeps beside itself while an engine is built on it.
#[derive(Debug, Default)]
pub(super) struct Warming {
    /// Blocks so far.
    count: usize,
    /// By number: one more than the area of a block, and none for most.
    area_of: Vec<u8>,
    areas: Vec<Room>,
    /// By steps from the room's beginning: one more than the number of the block that begins there. Empty where nobody asks.
    noted: Vec<u32>,
    /// How often it was to look.
    calls: usize,
    /// What the room was when the engine had been built; empty before.
    was: Vec<u8>,
    /// By steps from the room's beginning: whether the block that begins there was seen to have changed.
    changed: Vec<bool>,
}

/// Part of a room, bytes from its beginning.
#[derive(Debug, Clone, Copy)]
struct Room {
    next: usize,
    end: usize,
}

impl Warming {
    /// Notes which block lies where, in a room of so many bytes.
    pub(super) fn that_notes(room_bytes: usize) -> Self {
        Self {
            noted: vec![0; room_bytes / STEP_BYTES],
            changed: vec![false; room_bytes / STEP_BYTES],
            ..Self::default()
        }
    }

    /// Lays blocks as `placement` says.
    pub(super) fn that_places(placement: &Placement) -> Self {
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

    /// Puts the areas at the beginning of `free`, bytes from the room's beginning, and says where they end. What does not
    /// fit is not placed.
    pub(super) fn settle_in(&mut self, free: Range<usize>) -> usize {
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

    /// Counts the next block, and says where it is to begin, if it has a place.
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

    /// The block that was counted last begins there. What comes once the engine has been built is not its.
    pub(super) fn note(&mut self, start: usize) {
        if !self.was.is_empty() {
            return;
        }
        if let Some(noted) = self.noted.get_mut(start / STEP_BYTES) {
            *noted = u32::try_from(self.count).unwrap_or_default();
        }
    }

    /// The engine has been built, and `was` so: from now on what changes is looked for.
    pub(super) fn look_for_changes(&mut self, was: Vec<u8>) {
        self.was = was;
    }

    /// As [`Warming::look`], not at every call. Counts of references go up and come down again, so this is to be called
    /// whenever a block comes or goes.
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn look_now_and_then(&mut self, room: *const u8, bytes: usize) {
        if self.was.is_empty() {
            return;
        }
        self.calls += 1;
        if self.calls < LOOKED_AT_FIRST || self.calls.is_multiple_of(LOOKED_AT_EACH) {
            // SAFETY: as the caller says.
            unsafe { self.look(room, bytes) };
        }
    }

    /// Takes note of blocks that are no longer as they were. A page is copied before it is looked at: what lies in the room
    /// belongs to others, this itself among it.
    ///
    /// # Safety
    /// `room` has so many bytes.
    pub(super) unsafe fn look(&mut self, room: *const u8, bytes: usize) {
        let mut page = [0; PAGE_BYTES];
        for (number, was) in self.was.chunks(PAGE_BYTES).enumerate() {
            let start = number * PAGE_BYTES;
            let length = was.len().min(bytes.saturating_sub(start));
            // SAFETY: the caller says that the room is as long, and the copy is as long as a page.
            unsafe { ptr::copy_nonoverlapping(room.add(start), page.as_mut_ptr(), length) };
            if was[..length] == page[..length] {
                continue;
            }
            let steps = was
                .chunks(STEP_BYTES)
                .zip(page[..length].chunks(STEP_BYTES));
            for ((was, is), step) in steps.zip(start / STEP_BYTES..) {
                if was != is {
                    // Blocks may be longer than a step: it is that of the last one that begins here or before.
                    let block = (0..=step).rev().find(|step| self.noted[*step] > 0);
                    block
                        .into_iter()
                        .for_each(|block| self.changed[block] = true);
                }
            }
        }
    }

    /// All that was seen to have changed.
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

    /// Builds what stands for an engine: a thousand blocks, some of them freed on the way. Answers every tenth.
    fn build(heap: &mut Heap) -> Vec<*mut u8> {
        let mut kept = Vec::new();
        for number in 0..1_000 {
            let block = heap.alloc(number % 90 + 1);
            if number % 7 == 3 {
                // SAFETY: it is live.
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
        first.warm_with(Box::new(Warming::that_notes(first.capacity())));
        let kept = build(&mut first);
        let mut noted = first.end_warming().unwrap();
        let (room, bytes) = first.room();
        // SAFETY: as many bytes have been handed out, and nobody writes to them now.
        noted.look_for_changes(unsafe { std::slice::from_raw_parts(room, bytes) }.to_vec());
        for block in &kept {
            // SAFETY: it is live and has a byte.
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
        second.warm_with(Box::new(Warming::that_places(&placement)));
        let again = build(&mut second);
        assert!(pages(&kept) > 8, "{} pages", pages(&kept));
        assert_eq!(pages(&again[..20]), 1);
        assert!(pages(&again) <= 2, "{} pages", pages(&again));
    }
}

//! The two slots of a zygote: each is a pair of pipes, one for jobs and one for frames.
//!
//! A zygote has two slots for its whole life, and its job processes use them in turn: while one runs in the first, the
//! next is forked into the second and closes the first. An executor discards what a job process left in its slot before
//! it writes the next job there. The zygote has reaped the job process by then.
//!
//! Pipes, not sockets: one end of a socket wakes when the other has read, which costs each job process two wake-ups.

use std::os::fd::RawFd;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    Left,
    Right,
}

impl Slot {
    /// Both slots, in the order of their [`Descriptors`].
    pub const BOTH: [Self; 2] = [Self::Left, Self::Right];

    pub fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    /// Returns the descriptors of this slot in a zygote and its children.
    pub fn descriptors(self) -> &'static Descriptors {
        &Descriptors::OF_BOTH[self as usize]
    }

    pub fn of_name(name: u8) -> Option<Self> {
        let mut both = Self::BOTH.into_iter();
        both.find(|slot| slot.descriptors().name == name)
    }
}

/// The descriptors of one slot in a zygote and its children, and the slot's name in messages.
///
/// A job process that is forked gets a pointer to this value and sends its first byte as its hello.
#[derive(Debug)]
#[repr(C)]
pub struct Descriptors {
    pub name: u8,
    /// The job is read from this descriptor.
    pub job: RawFd,
    /// Frames are written to this descriptor.
    pub frames: RawFd,
}

impl Descriptors {
    /// The first descriptor after the standard three.
    pub const FIRST: RawFd = 3;
    /// One past the last descriptor.
    pub const END: RawFd = Self::FIRST + 4;

    const OF_BOTH: &'static [Self; 2] = &[
        Self {
            name: b'L',
            job: Self::FIRST,
            frames: Self::FIRST + 1,
        },
        Self {
            name: b'R',
            job: Self::FIRST + 2,
            frames: Self::FIRST + 3,
        },
    ];
}

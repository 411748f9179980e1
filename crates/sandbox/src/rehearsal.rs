//! Learns the best layout of a zygote's heap, in children that are thrown away. Runs before resource
//! limits, landlock and the filter are set up, and before any job exists.

use super::job_process::JobBody;
use super::sys::{self, Forked};
use crate::engine::{Placement, Sample, Written, heap};
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use std::convert::Infallible;
use std::fs::File;
use std::io::{Read as _, Write as _};

const EXIT_DONE: i32 = 0;
const EXIT_NOTHING: i32 = 1;

/// Runs of each sample. The second one, on the layout that the first suggests, notes most of what the first has missed.
const RUNS: usize = 2;

/// Runs the rehearsals and returns the layout that they suggest. Returns `None` if one fails: the heap then keeps its
/// default layout, and the next zygote tries again.
pub(super) fn learn<B: JobBody>() -> Option<Placement> {
    let mut placement = Placement::default();
    for sample in Sample::ALL {
        for _ in 0..RUNS {
            placement.add(rehearse::<B>(sample, &placement)?);
        }
    }
    Some(placement)
}

/// Runs `sample` in a child, on a heap that `placement` has laid out. Returns the other blocks that the sample wrote to.
fn rehearse<B: JobBody>(sample: Sample, placement: &Placement) -> Option<Written> {
    let (here, there) = pipe2(OFlag::O_CLOEXEC).ok()?;
    let Forked::Parent(child) = sys::fork().ok()? else {
        drop(here);
        let there = File::from(there);
        let report = Box::new(move |written: &Written| -> Infallible {
            let told =
                serde_json::to_vec(written).is_ok_and(|text| (&there).write_all(&text).is_ok());
            sys::exit_now(if told { EXIT_DONE } else { EXIT_NOTHING })
        });
        // The last allocation before the engine's: blocks are known by their number.
        heap::note_blocks(placement);
        B::rehearse(sample, report);
        sys::exit_now(EXIT_NOTHING)
    };
    drop(there);
    let mut text = Vec::new();
    let read = File::from(here).read_to_end(&mut text);
    sys::wait_for(child);
    read.ok()?;
    serde_json::from_slice(&text).ok()
}

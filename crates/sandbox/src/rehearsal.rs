//! Learns the best layout of a zygote's heap, in children that are thrown away. Runs before resource
//! limits, landlock and the filter are set up, and before any job exists.

use super::job_process::JobBody;
use super::sys::{self, Forked};
use crate::engine::{Placement, Sample, Written};
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use std::convert::Infallible;
use std::fs::File;
use std::io::{Read as _, Write as _};

const EXIT_DONE: i32 = 0;
const EXIT_NOTHING: i32 = 1;

/// Runs the rehearsals and returns the layout that they suggest. Returns `None` if one fails: the heap then keeps its
/// default layout, and the next zygote tries again.
pub(super) fn learn<B: JobBody>() -> Option<Placement> {
    let mut placement = Placement::default();
    for sample in Sample::ALL {
        placement.add(rehearse::<B>(sample)?);
    }
    Some(placement)
}

fn rehearse<B: JobBody>(sample: Sample) -> Option<Written> {
    let (here, there) = pipe2(OFlag::O_CLOEXEC).ok()?;
    let Forked::Parent(child) = sys::fork().ok()? else {
        drop(here);
        let there = File::from(there);
        let report = move |written: &Written| -> Infallible {
            let told =
                serde_json::to_vec(written).is_ok_and(|text| (&there).write_all(&text).is_ok());
            sys::exit_now(if told { EXIT_DONE } else { EXIT_NOTHING })
        };
        B::rehearse(sample, Box::new(report));
        sys::exit_now(EXIT_NOTHING)
    };
    drop(there);
    let mut text = Vec::new();
    let read = File::from(here).read_to_end(&mut text);
    sys::wait_for(child);
    read.ok()?;
    serde_json::from_slice(&text).ok()
}

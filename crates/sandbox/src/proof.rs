//! Proof that the filter works: children make forbidden calls and must be killed for them.

use super::layers::{LayerMissing, missing};
use super::privilege::Privilege;
use super::sys::{self, Forked};
use sandpiper_sandbox_protocol::LayerReport;

/// The exit code of a child whose forbidden call returned.
const EXIT_CAME_BACK: i32 = 1;

/// A forbidden action of a child, and the signal that must kill the child.
struct Trial {
    what: &'static str,
    attempt: fn(&Privilege),
    dies_of: i32,
}

const TRIALS: [Trial; 3] = [
    Trial {
        what: "running another program",
        attempt: |_| {
            let _ = nix::unistd::execv::<&std::ffi::CStr>(c"/nonexistent", &[]);
        },
        dies_of: libc::SIGSYS,
    },
    Trial {
        what: "a fork without the zygote's secret",
        attempt: |_| {
            let _ = sys::fork();
        },
        dies_of: libc::SIGSYS,
    },
    Trial {
        what: "reading the zygote's secret",
        attempt: Privilege::read_secret,
        dies_of: libc::SIGSEGV,
    },
];

/// Tries the filter from the position of a job process.
pub(super) fn prove_filter(privilege: &Privilege) -> Result<LayerReport, LayerMissing> {
    for trial in &TRIALS {
        let forked = privilege
            .fork_copy()
            .map_err(|errno| missing("fork", errno))?;
        let Forked::Parent(pid) = forked else {
            (trial.attempt)(privilege);
            sys::exit_now(EXIT_CAME_BACK)
        };
        let ended = privilege
            .wait_for(pid)
            .and_then(|ended| privilege.reap(pid).map(|()| ended))
            .map_err(|errno| missing("fork", errno))?;
        if ended.signal != Some(trial.dies_of) {
            return Err(missing(
                "seccomp",
                format!("{} did not kill a job process ({ended:?})", trial.what),
            ));
        }
    }
    Ok(LayerReport::present(
        "seccomp",
        "tried as a job process: forbidden calls killed it, and its zygote's secret is not its own",
    )
    .required())
}

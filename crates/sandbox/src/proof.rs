//! Believing a wall only after running into it: children that do what the filter forbids, and must die of it.

use super::privilege::Privilege;
use super::sys::{self, Forked};
use super::walls::{WallMissing, missing};
use sandpiper_sandbox_protocol::WallReport;

/// What a child exits with when a forbidden call came back.
const EXIT_CAME_BACK: i32 = 1;

/// What a child tries, and what it must die of.
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
        attempt: Privilege::touch,
        dies_of: libc::SIGSEGV,
    },
];

/// Tries the filter from where a job process stands.
pub(super) fn of_the_filter(privilege: &Privilege) -> Result<WallReport, WallMissing> {
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
    Ok(WallReport::present(
        "seccomp",
        "tried as a job process: forbidden calls killed it, and its zygote's secret is not its own",
    )
    .required())
}

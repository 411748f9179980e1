//! Believing a wall only after running into it: two children that do what the filters forbid, and must die of it.

use super::level::WallReport;
use super::sys::{self, Forked};
use super::walls::{WallMissing, missing};
use seccompiler::BpfProgram;

/// What a child exits with when a forbidden call came back.
const EXIT_CAME_BACK: i32 = 1;

/// Tries the zygote's filter and a job process's filter, each with a call that it forbids.
pub(super) fn of_both_filters(job_filter: &BpfProgram) -> Result<WallReport, WallMissing> {
    dies_of_it("zygote", || {
        let _ = nix::unistd::execv::<&std::ffi::CStr>(c"/nonexistent", &[]);
    })?;
    dies_of_it("job process", || {
        if sys::install_filter(job_filter).is_ok() {
            let _ = nix::unistd::getppid();
        }
    })?;
    Ok(WallReport::present(
        "seccomp",
        "both filters tried: a forbidden call killed the caller",
    )
    .required())
}

fn dies_of_it(whose: &str, forbidden: impl FnOnce()) -> Result<(), WallMissing> {
    let pid = match sys::fork().map_err(|errno| missing("fork", errno))? {
        Forked::Child => {
            forbidden();
            sys::exit_now(EXIT_CAME_BACK)
        }
        Forked::Parent(pid) => pid,
    };
    let reaped = sys::reap(pid).map_err(|errno| missing("fork", errno))?;
    if reaped.signal == Some(libc::SIGSYS) {
        return Ok(());
    }
    Err(missing(
        "seccomp",
        format!("a call that the {whose} filter forbids did not kill its caller ({reaped:?})"),
    ))
}

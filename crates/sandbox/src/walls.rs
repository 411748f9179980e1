//! The walls round a zygote, raised in the order they stand in this file. Each is tried, and says whether it stands.

use super::sys::{self, Speculation};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus,
    Scope,
};
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid};
use sandpiper_sandbox_protocol::SpeculationControl;
use sandpiper_sandbox_protocol::{IsolationLevel, WallReport};
use std::fs;

/// Who a zygote becomes when the service was started as root: `nobody`, by the number every system gives it.
const UNPRIVILEGED_ID: u32 = 65_534;
/// Zygotes and job processes stand behind the service's own threads, so health and refusals stay fast. Not further back
/// than that takes: at 10 a script beside other busy programs got so little that its time ran out.
const NICENESS: i32 = 5;
/// The kernel's out-of-memory killer takes a job process before anything else.
const OUT_OF_MEMORY_SCORE: &str = "1000";
/// Stack of a job process; the engine's own bound lies far below.
const STACK_BYTES: u64 = 8 << 20;
/// Descriptors a zygote may hold: the control socket, the standard two, two lines, and room for none to pass unseen.
const DESCRIPTORS: u64 = 8;

/// A wall that must stand does not.
#[derive(Debug, thiserror::Error)]
#[error("wall `{wall}` is missing: {reason}")]
pub(super) struct WallMissing {
    pub(super) wall: &'static str,
    pub(super) reason: String,
}

pub(super) fn missing(wall: &'static str, reason: impl ToString) -> WallMissing {
    WallMissing {
        wall,
        reason: reason.to_string(),
    }
}

/// Fork is safe only while there is one thread.
pub(super) fn assert_one_thread() -> Result<(), WallMissing> {
    let threads = fs::read_dir("/proc/self/task")
        .map_err(|error| missing("fork", format!("/proc/self/task cannot be read: {error}")))?
        .count();
    if threads == 1 {
        return Ok(());
    }
    Err(missing(
        "fork",
        format!("{threads} threads where one is expected"),
    ))
}

/// Nice value and out-of-memory score. Comfort of the machine, not walls: a refusal is no reason to stop.
pub(super) fn step_behind() {
    let _ = sys::set_niceness(NICENESS);
    let _ = fs::write("/proc/self/oom_score_adj", OUT_OF_MEMORY_SCORE);
}

/// From root to nobody; anybody else stays who he is.
pub(super) fn become_unprivileged() -> Result<WallReport, WallMissing> {
    const WALL: &str = "unprivileged_user";
    let refused = |errno: Errno| {
        missing(
            WALL,
            format!(
                "started as root but cannot become uid {UNPRIVILEGED_ID} ({errno}); run as another user, or with CAP_SETUID, CAP_SETGID and CAP_KILL"
            ),
        )
    };
    if nix::unistd::geteuid().is_root() || nix::unistd::getuid().is_root() {
        let (user, group) = (
            Uid::from_raw(UNPRIVILEGED_ID),
            Gid::from_raw(UNPRIVILEGED_ID),
        );
        nix::unistd::setgroups(&[]).map_err(refused)?;
        nix::unistd::setresgid(group, group, group).map_err(refused)?;
        nix::unistd::setresuid(user, user, user).map_err(refused)?;
        if nix::unistd::setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok() {
            return Err(missing(WALL, "root could be taken back"));
        }
    }
    sys::drop_capabilities()
        .map_err(|errno| missing(WALL, format!("capabilities cannot be dropped: {errno}")))?;
    let user = nix::unistd::getuid();
    Ok(WallReport::present(WALL, format!("uid {user}, no capability")).required())
}

/// User, pid, network, ipc, uts and mount namespaces, all or none.
pub(super) fn enter_namespaces(wanted: IsolationLevel) -> WallReport {
    const WALL: &str = "namespaces";
    if wanted < IsolationLevel::L4 {
        return WallReport::absent(
            WALL,
            format!("not tried: the highest level asked for is {wanted}"),
        );
    }
    let all = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWNS;
    match nix::sched::unshare(all) {
        Ok(()) => WallReport::present(WALL, "user, pid, net, ipc, uts, mnt"),
        Err(errno) => WallReport::absent(WALL, format!("unshare: {errno}")),
    }
}

/// Dies with its parent, gains nothing by exec, cannot be traced or dumped by another process of its user.
pub(super) fn tie_down() -> Result<WallReport, WallMissing> {
    const WALL: &str = "no_new_privileges";
    let refused = |what: &'static str| move |errno| missing(WALL, format!("{what}: {errno}"));
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .map_err(refused("PR_SET_PDEATHSIG"))?;
    nix::sys::prctl::set_no_new_privs().map_err(refused("PR_SET_NO_NEW_PRIVS"))?;
    nix::sys::prctl::set_dumpable(false).map_err(refused("PR_SET_DUMPABLE"))?;
    sys::drop_capabilities().map_err(refused("capset"))?;
    Ok(WallReport::present(
        WALL,
        "no new privileges, not dumpable, dies with its parent",
    )
    .required())
}

/// Address space of this process as it stands: what every job process is born with.
pub(super) fn address_space_bytes() -> Result<u64, WallMissing> {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
        .ok_or_else(|| missing("rlimits", "/proc/self/statm cannot be read"))?;
    let page_bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or(4096);
    Ok(pages * page_bytes)
}

/// Bounds that the kernel keeps. Address space is bounded later, by each job process for its own job.
pub(super) fn limit_resources() -> Result<WallReport, WallMissing> {
    let bounds = [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_NOFILE, DESCRIPTORS),
    ];
    for (resource, most) in bounds {
        setrlimit(resource, most, most)
            .map_err(|errno| missing("rlimits", format!("{resource:?}: {errno}")))?;
    }
    // gVisor does not have these; the calls they bound are forbidden anyway.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, 0, 0);
    let _ = setrlimit(Resource::RLIMIT_MSGQUEUE, 0, 0);
    // The hard limit may already lie lower, which is as good.
    let _ = setrlimit(Resource::RLIMIT_STACK, STACK_BYTES, STACK_BYTES);
    Ok(WallReport::present(
        "rlimits",
        "no core, no file growth, few descriptors; no process and bounded address space per job",
    )
    .required())
}

/// Asks for processors that do not speculate past stores or indirect branches in this process and its children. Says how
/// that went; no level depends on it.
pub(super) fn restrict_speculation(wanted: SpeculationControl) -> WallReport {
    const WALL: &str = "speculation_control";
    if wanted == SpeculationControl::Off {
        return WallReport::absent(WALL, "not tried: --speculation-control is off");
    }
    let (stores, stores_are_safe) = sys::disable_speculation(Speculation::StoreBypass);
    let (branches, branches_are_safe) = sys::disable_speculation(Speculation::IndirectBranch);
    let detail = format!("store bypass: {stores}; indirect branches: {branches}");
    if stores_are_safe && branches_are_safe {
        WallReport::present(WALL, detail)
    } else {
        WallReport::absent(WALL, detail)
    }
}

/// No memory that is written and then executed.
pub(super) fn refuse_executable_memory() -> WallReport {
    const WALL: &str = "memory_deny_write_execute";
    match sys::refuse_executable_gain() {
        Ok(()) => WallReport::present(WALL, "kept by the kernel as well as by seccomp"),
        Err(errno) => WallReport::absent(WALL, format!("kept by seccomp alone (prctl: {errno})")),
    }
}

/// No file, no TCP, no abstract socket or signal beyond this process and its children. Tried by opening `/`.
pub(super) fn deny_files_and_network(wanted: IsolationLevel) -> WallReport {
    const WALL: &str = "landlock";
    if wanted < IsolationLevel::L3 {
        return WallReport::absent(
            WALL,
            format!("not tried: the highest level asked for is {wanted}"),
        );
    }
    let enforced = match restrict_with_landlock() {
        Ok(status) => status,
        Err(error) => return WallReport::absent(WALL, error.to_string()),
    };
    if enforced == RulesetStatus::NotEnforced {
        return WallReport::absent(WALL, "this kernel does not enforce it");
    }
    match fs::read_dir("/") {
        Ok(_) => WallReport::absent(WALL, "it claims to be enforced, yet / can be read"),
        Err(_) => WallReport::present(WALL, format!("{enforced:?}; opening / was refused")),
    }
}

fn restrict_with_landlock() -> Result<RulesetStatus, landlock::RulesetError> {
    let newest = ABI::V7;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(newest))?
        .handle_access(AccessNet::from_all(newest))?
        .scope(Scope::from_all(newest))?
        .create()?
        .restrict_self()?;
    Ok(status.ruleset)
}

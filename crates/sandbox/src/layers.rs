//! The isolation layers of a zygote, except the seccomp filter (`filters`, `proof`). `zygote` sets them up in its order; each
//! reports its state.

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
use sandpiper_sandbox_protocol::{IsolationLevel, LayerReport};
use std::fs;

/// The user and group of a zygote when the service was started as root: `nobody`, by its conventional number.
const UNPRIVILEGED_ID: u32 = 65_534;
/// Nice value of zygotes and job processes. The service's own threads run first, so that health checks and error
/// responses stay fast. At 10 a script beside other busy programs got so little processor time that it timed out.
const NICENESS: i32 = 5;
/// The kernel's out-of-memory killer takes a job process before any other process.
const OUT_OF_MEMORY_SCORE: &str = "1000";
/// Stack of a job process, bytes. The engine's own limit is far below.
const STACK_BYTES: u64 = 12 << 20;
/// Descriptors that a zygote may hold: the control socket, standard output and error, two slots, and one more.
const DESCRIPTORS: u64 = 8;

#[derive(Debug, thiserror::Error)]
#[error("isolation layer `{layer}` is missing: {reason}")]
pub(super) struct LayerMissing {
    pub(super) layer: &'static str,
    pub(super) reason: String,
}

pub(super) fn missing(layer: &'static str, reason: impl ToString) -> LayerMissing {
    LayerMissing {
        layer,
        reason: reason.to_string(),
    }
}

/// Checks that this process has one thread. A fork is safe only then.
pub(super) fn assert_one_thread() -> Result<(), LayerMissing> {
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

/// Sets the nice value and the out-of-memory score. Neither is an isolation layer, so a failure is ignored.
pub(super) fn lower_priority() {
    let _ = sys::set_niceness(NICENESS);
    let _ = fs::write("/proc/self/oom_score_adj", OUT_OF_MEMORY_SCORE);
}

/// Changes from root to nobody. A process of another user keeps its user.
pub(super) fn become_unprivileged() -> Result<LayerReport, LayerMissing> {
    const LAYER: &str = "unprivileged_user";
    let refused = |errno: Errno| {
        missing(
            LAYER,
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
            return Err(missing(LAYER, "root could be taken back"));
        }
    }
    sys::drop_capabilities()
        .map_err(|errno| missing(LAYER, format!("capabilities cannot be dropped: {errno}")))?;
    let user = nix::unistd::getuid();
    Ok(LayerReport::present(LAYER, format!("uid {user}, no capability")).required())
}

/// Enters new user, pid, network, ipc, uts and mount namespaces: all of them or none.
pub(super) fn enter_namespaces(wanted: IsolationLevel) -> LayerReport {
    const LAYER: &str = "namespaces";
    if wanted < IsolationLevel::L4 {
        return LayerReport::absent(
            LAYER,
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
        Ok(()) => LayerReport::present(LAYER, "user, pid, net, ipc, uts, mnt"),
        Err(errno) => LayerReport::absent(LAYER, format!("unshare: {errno}")),
    }
}

/// Makes the process die with its parent, gain no privilege by exec, and be neither traceable nor dumpable by other
/// processes of its user.
pub(super) fn restrict_process() -> Result<LayerReport, LayerMissing> {
    const LAYER: &str = "no_new_privileges";
    let refused = |what: &'static str| move |errno| missing(LAYER, format!("{what}: {errno}"));
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .map_err(refused("PR_SET_PDEATHSIG"))?;
    nix::sys::prctl::set_no_new_privs().map_err(refused("PR_SET_NO_NEW_PRIVS"))?;
    nix::sys::prctl::set_dumpable(false).map_err(refused("PR_SET_DUMPABLE"))?;
    sys::drop_capabilities().map_err(refused("capset"))?;
    Ok(LayerReport::present(
        LAYER,
        "no new privileges, not dumpable, dies with its parent",
    )
    .required())
}

/// Returns the current address space of this process, bytes. Every job process is forked with it.
pub(super) fn address_space_bytes() -> Result<u64, LayerMissing> {
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

/// Sets the kernel's resource limits. Each job process bounds its address space later, for its own job.
pub(super) fn limit_resources() -> Result<LayerReport, LayerMissing> {
    let bounds = [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_NOFILE, DESCRIPTORS),
    ];
    for (resource, most) in bounds {
        setrlimit(resource, most, most)
            .map_err(|errno| missing("rlimits", format!("{resource:?}: {errno}")))?;
    }
    // gVisor lacks these limits. The filter forbids the calls that they bound.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, 0, 0);
    let _ = setrlimit(Resource::RLIMIT_MSGQUEUE, 0, 0);
    // The hard limit may already be lower, which is as good.
    let _ = setrlimit(Resource::RLIMIT_STACK, STACK_BYTES, STACK_BYTES);
    Ok(LayerReport::present(
        "rlimits",
        "no core, no file growth, few descriptors; no process and bounded address space per job",
    )
    .required())
}

/// Asks the kernel to stop this process and its children from speculating past stores and indirect branches. Returns
/// the result; no isolation level depends on it.
pub(super) fn restrict_speculation(wanted: SpeculationControl) -> LayerReport {
    const LAYER: &str = "speculation_control";
    if wanted == SpeculationControl::Off {
        return LayerReport::absent(LAYER, "not tried: --speculation-control is off");
    }
    let (stores, stores_are_safe) = sys::disable_speculation(Speculation::StoreBypass);
    let (branches, branches_are_safe) = sys::disable_speculation(Speculation::IndirectBranch);
    let detail = format!("store bypass: {stores}; indirect branches: {branches}");
    if stores_are_safe && branches_are_safe {
        LayerReport::present(LAYER, detail)
    } else {
        LayerReport::absent(LAYER, detail)
    }
}

/// Refuses memory that is first written and then executed.
pub(super) fn refuse_executable_memory() -> LayerReport {
    const LAYER: &str = "memory_deny_write_execute";
    match sys::refuse_executable_gain() {
        Ok(()) => LayerReport::present(LAYER, "kept by the kernel as well as by seccomp"),
        Err(errno) => LayerReport::absent(LAYER, format!("kept by seccomp alone (prctl: {errno})")),
    }
}

/// Denies files, TCP, and abstract sockets and signals outside this process and its children. Tries the layer by
/// opening `/`.
pub(super) fn deny_files_and_network(wanted: IsolationLevel) -> LayerReport {
    const LAYER: &str = "landlock";
    if wanted < IsolationLevel::L3 {
        return LayerReport::absent(
            LAYER,
            format!("not tried: the highest level asked for is {wanted}"),
        );
    }
    let enforced = match restrict_with_landlock() {
        Ok(status) => status,
        Err(error) => return LayerReport::absent(LAYER, error.to_string()),
    };
    if enforced == RulesetStatus::NotEnforced {
        return LayerReport::absent(LAYER, "this kernel does not enforce it");
    }
    match fs::read_dir("/") {
        Ok(_) => LayerReport::absent(LAYER, "it claims to be enforced, yet / can be read"),
        Err(_) => LayerReport::present(LAYER, format!("{enforced:?}; opening / was refused")),
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

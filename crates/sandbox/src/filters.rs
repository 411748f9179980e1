//! The system calls that each process may make. Any other call kills the process.
//!
//! The filters are allow-lists. A call that is not named here, a call of another architecture and the x32 numbers all
//! end the process with SIGSYS. A zygote and its job processes have the same filter: the kernel copies it in a fork.
//! Calls that only the zygote may make pass with the zygote's secret alone (`privilege`). A job process may therefore
//! read its job, compute, write frames and end.

use super::privilege::{self, PLACEHOLDER, Privilege};
use sandpiper_sandbox_protocol::Slot;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as ArgLen, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::os::fd::RawFd;

/// The filter could not be built. This is a bug in this file, found when the service starts.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilterError {
    #[error("a seccomp filter does not compile: {0}")]
    Compiler(#[from] seccompiler::BackendError),
    /// The filter compiler emitted an unexpected comparison.
    #[error("a seccomp filter asks for the zygote's secret {found} times instead of {expected}")]
    Secret { found: usize, expected: usize },
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Calls that only the zygote makes: to take orders, fork, reap and report, and to set up a job process while it is
/// forked.
const ZYGOTE_ONLY: [libc::c_long; 9] = [
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_close,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_clone,
    libc::SYS_getppid,
    libc::SYS_prctl,
    libc::SYS_madvise,
];

/// The argument in which the zygote's calls carry the secret. None of them uses its sixth argument. (`sendto` uses it
/// for the length of an address, which the kernel ignores when there is no address.)
const SECRET_ARGUMENT: u8 = 5;

/// Builds the filter of a zygote and its job processes. The program contains the secret: the caller wipes it after
/// installing it.
pub(super) fn zygote(privilege: &Privilege) -> Result<BpfProgram, FilterError> {
    let mut rules = memory_and_time()?;
    for call in ZYGOTE_ONLY {
        let mut conditions = vec![(SECRET_ARGUMENT, ArgLen::Qword, Op::Eq, PLACEHOLDER)];
        conditions.extend(other_conditions(call));
        rules.entry(call).or_default().push(rule(&conditions)?);
    }
    limit_self(&mut rules)?;
    read_and_write(&mut rules)?;
    let mut program = compile(rules)?;
    let (found, expected) = (privilege.insert_secret(&mut program), ZYGOTE_ONLY.len());
    if found == expected {
        return Ok(program);
    }
    privilege::wipe(&mut program);
    Err(FilterError::Secret { found, expected })
}

/// Returns the other conditions on a call that only the zygote may make.
fn other_conditions(call: libc::c_long) -> Vec<(u8, ArgLen, Op, u64)> {
    let number = |number: libc::c_int| u64::try_from(number).unwrap_or_default();
    match call {
        // A fork and nothing more: no thread, no shared memory, no namespace.
        libc::SYS_clone => vec![(0, ArgLen::Qword, Op::Eq, number(libc::SIGCHLD))],
        libc::SYS_prctl => vec![
            (0, ArgLen::Dword, Op::Eq, number(libc::PR_SET_PDEATHSIG)),
            (1, ArgLen::Dword, Op::Eq, number(libc::SIGKILL)),
        ],
        // Leaves memory out of forks.
        libc::SYS_madvise => vec![(2, ArgLen::Dword, Op::Eq, number(libc::MADV_DONTFORK))],
        libc::SYS_sendto | libc::SYS_recvmsg => {
            vec![(0, ArgLen::Dword, Op::Eq, number(libc::STDIN_FILENO))]
        }
        _ => Vec::new(),
    }
}

/// Builds the filter of a launcher, which waits for its zygote and ends.
pub(super) fn launcher() -> Result<BpfProgram, FilterError> {
    let mut rules = Rules::new();
    allow(
        &mut rules,
        &[
            libc::SYS_wait4,
            libc::SYS_exit_group,
            libc::SYS_rt_sigreturn,
        ],
    );
    compile(rules)
}

fn memory_and_time() -> Result<Rules, FilterError> {
    let mut rules = Rules::new();
    allow(
        &mut rules,
        &[
            libc::SYS_exit_group,
            libc::SYS_rt_sigreturn,
            libc::SYS_restart_syscall,
            libc::SYS_brk,
            libc::SYS_munmap,
            libc::SYS_mremap,
            libc::SYS_getrandom,
            // The C library asks the kernel where user space cannot read the clock.
            libc::SYS_gettimeofday,
            libc::SYS_time,
        ],
    );
    // Memory may be returned to the kernel. No other advice is allowed.
    let advice = u64::try_from(libc::MADV_DONTNEED).unwrap_or_default();
    rules.insert(
        libc::SYS_madvise,
        vec![rule(&[(2, ArgLen::Dword, Op::Eq, advice)])?],
    );
    // The clocks of the machine and of the calling process. The number of a clock can also name any other process.
    for call in [libc::SYS_clock_gettime, libc::SYS_clock_nanosleep] {
        let last = u64::try_from(libc::CLOCK_TAI).unwrap_or_default();
        rules.insert(call, vec![rule(&[(0, ArgLen::Dword, Op::Le, last)])?]);
    }
    // New memory is allowed. Executable memory and the machine's reserved pool of huge pages are not.
    let executable = u64::try_from(libc::PROT_EXEC).unwrap_or_default();
    let reserved = u64::try_from(libc::MAP_HUGETLB).unwrap_or_default();
    rules.insert(
        libc::SYS_mmap,
        vec![rule(&[
            (2, ArgLen::Dword, Op::MaskedEq(executable), 0),
            (3, ArgLen::Dword, Op::MaskedEq(reserved), 0),
        ])?],
    );
    Ok(rules)
}

/// Allows `prlimit` on the calling process. An unprivileged process can only lower a hard limit.
fn limit_self(rules: &mut Rules) -> Result<(), FilterError> {
    rules.insert(
        libc::SYS_prlimit64,
        vec![rule(&[(0, ArgLen::Dword, Op::Eq, 0)])?],
    );
    Ok(())
}

/// Allows reading jobs, writing frames, and writing to standard output and standard error, which lead nowhere. A job
/// process has one slot's descriptors; those of the other slot are closed.
fn read_and_write(rules: &mut Rules) -> Result<(), FilterError> {
    let [left, right] = Slot::BOTH.map(Slot::descriptors);
    let on = |descriptors: &[RawFd]| -> Result<Vec<_>, FilterError> {
        descriptors.iter().copied().map(on_descriptor).collect()
    };
    rules.insert(libc::SYS_read, on(&[left.job, right.job])?);
    let writable = [
        left.frames,
        right.frames,
        libc::STDOUT_FILENO,
        libc::STDERR_FILENO,
    ];
    rules.insert(libc::SYS_write, on(&writable)?);
    Ok(())
}

fn on_descriptor(descriptor: RawFd) -> Result<SeccompRule, FilterError> {
    let descriptor = u64::try_from(descriptor).unwrap_or(u64::MAX);
    rule(&[(0, ArgLen::Dword, Op::Eq, descriptor)])
}

fn allow(rules: &mut Rules, calls: &[libc::c_long]) {
    rules.extend(calls.iter().map(|call| (*call, Vec::new())));
}

fn rule(conditions: &[(u8, ArgLen, Op, u64)]) -> Result<SeccompRule, FilterError> {
    let conditions: Result<Vec<_>, _> = conditions
        .iter()
        .map(|(argument, length, operator, value)| {
            SeccompCondition::new(*argument, length.clone(), operator.clone(), *value)
        })
        .collect();
    Ok(SeccompRule::new(conditions?)?)
}

fn compile(rules: Rules) -> Result<BpfProgram, FilterError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let (others, named) = (SeccompAction::KillProcess, SeccompAction::Allow);
    let filter = SeccompFilter::new(rules, others, named, architecture)?;
    Ok(filter.try_into()?)
}

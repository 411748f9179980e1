//! Which system calls each process may make. Anything else kills it.
//!
//! Allow-lists: a call that is not named here, a call of another architecture and the x32 numbers all end the process with
//! SIGSYS. A zygote and its job processes stand behind one and the same filter, which the kernel hands on with a fork: what
//! is the zygote's alone passes only with the zygote's secret (`privilege`), so a job process may read its job, compute,
//! write frames and end.

use super::privilege::{self, PLACEHOLDER, Privilege};
use sandpiper_sandbox_protocol::Side;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as ArgLen, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::os::fd::RawFd;

/// A filter did not compile: a fault of this file, found at start.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilterError {
    #[error("a seccomp filter does not compile: {0}")]
    Compiler(#[from] seccompiler::BackendError),
    /// The compiler of filters has written a comparison as nobody expects it.
    #[error("a seccomp filter asks for the zygote's secret {found} times instead of {expected}")]
    Secret { found: usize, expected: usize },
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// What only the zygote does: take orders, fork, reap, report; and what a job process does while it is born.
const ZYGOTE_ALONE: [libc::c_long; 9] = [
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

/// Where a call of the zygote's alone has the secret: none of them uses its sixth argument. (`sendto` does, for the length
/// of an address; without an address the kernel does not look at it.)
const SECRET_ARGUMENT: u8 = 5;

/// What a zygote and its job processes may do. Whoever installs it wipes it then: it holds the secret.
pub(super) fn zygote(privilege: &Privilege) -> Result<BpfProgram, FilterError> {
    let mut rules = memory_and_time()?;
    for call in ZYGOTE_ALONE {
        let mut conditions = vec![(SECRET_ARGUMENT, ArgLen::Qword, Op::Eq, PLACEHOLDER)];
        conditions.extend(beside_the_secret(call));
        rules.entry(call).or_default().push(rule(&conditions)?);
    }
    limit_self(&mut rules)?;
    read_and_write(&mut rules)?;
    let mut program = compile(rules, SeccompAction::KillProcess, SeccompAction::Allow)?;
    let (found, expected) = (privilege.fill_in(&mut program), ZYGOTE_ALONE.len());
    if found == expected {
        return Ok(program);
    }
    privilege::wipe(&mut program);
    Err(FilterError::Secret { found, expected })
}

/// What else must hold of a call that is the zygote's alone.
fn beside_the_secret(call: libc::c_long) -> Vec<(u8, ArgLen, Op, u64)> {
    let number = |number: libc::c_int| u64::try_from(number).unwrap_or_default();
    match call {
        // fork and nothing more: no thread, no shared memory, no namespace.
        libc::SYS_clone => vec![(0, ArgLen::Qword, Op::Eq, number(libc::SIGCHLD))],
        libc::SYS_prctl => vec![
            (0, ArgLen::Dword, Op::Eq, number(libc::PR_SET_PDEATHSIG)),
            (1, ArgLen::Dword, Op::Eq, number(libc::SIGKILL)),
        ],
        // Keeping memory from its children.
        libc::SYS_madvise => vec![(2, ArgLen::Dword, Op::Eq, number(libc::MADV_DONTFORK))],
        libc::SYS_sendto | libc::SYS_recvmsg => {
            vec![(0, ArgLen::Dword, Op::Eq, number(libc::STDIN_FILENO))]
        }
        _ => Vec::new(),
    }
}

/// What a launcher may do: wait for its zygote and end.
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
    compile(rules, SeccompAction::KillProcess, SeccompAction::Allow)
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
            // Where user space cannot read the clock, the C library asks the kernel.
            libc::SYS_gettimeofday,
            libc::SYS_time,
        ],
    );
    // Giving memory back, and no other advice.
    let advice = u64::try_from(libc::MADV_DONTNEED).unwrap_or_default();
    rules.insert(
        libc::SYS_madvise,
        vec![rule(&[(2, ArgLen::Dword, Op::Eq, advice)])?],
    );
    // The clocks of the machine and of oneself. A clock's number can also name another process, any other.
    for call in [libc::SYS_clock_gettime, libc::SYS_clock_nanosleep] {
        let last = u64::try_from(libc::CLOCK_TAI).unwrap_or_default();
        rules.insert(call, vec![rule(&[(0, ArgLen::Dword, Op::Le, last)])?]);
    }
    // New memory, but never executable, and never of the pool of huge pages that the machine keeps for others.
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

/// `prlimit` of oneself: without privilege a hard limit can only be lowered.
fn limit_self(rules: &mut Rules) -> Result<(), FilterError> {
    rules.insert(
        libc::SYS_prlimit64,
        vec![rule(&[(0, ArgLen::Dword, Op::Eq, 0)])?],
    );
    Ok(())
}

/// Reading jobs; writing frames, and to the standard two, which lead nowhere. A job process has one line, and the numbers
/// of the other lead nowhere either.
fn read_and_write(rules: &mut Rules) -> Result<(), FilterError> {
    let [left, right] = Side::BOTH.map(Side::descriptors);
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

fn compile(
    rules: Rules,
    others: SeccompAction,
    named: SeccompAction,
) -> Result<BpfProgram, FilterError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, others, named, architecture)?;
    Ok(filter.try_into()?)
}

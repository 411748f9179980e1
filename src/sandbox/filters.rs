//! Which system calls each process may make. Anything else kills it.
//!
//! The zygote's is an allow-list: a call that is not named here, a call of another architecture and the x32 numbers all
//! end the process with SIGSYS. A job process inherits it and takes away what is the zygote's alone. Both programs are
//! made once, in the zygote; a job process only hands the second to the kernel.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as ArgLen, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};
use std::collections::BTreeMap;
use std::os::fd::RawFd;

/// A filter did not compile: a fault of this file, found at start.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilterError {
    #[error("a seccomp filter does not compile: {0}")]
    Compiler(#[from] seccompiler::BackendError),
    #[error("a seccomp filter does not compile: a number or a jump does not fit")]
    Unrepresentable,
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// What only the zygote does: take orders, fork, reap, report.
const ZYGOTE_ALONE: [libc::c_long; 9] = [
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_close,
    libc::SYS_wait4,
    libc::SYS_clone,
    libc::SYS_getpid,
    libc::SYS_getppid,
    // The child ties its life to the zygote's, and installs its own filter.
    libc::SYS_prctl,
    libc::SYS_seccomp,
];

/// What the zygote may do. Its children start with the same.
pub(super) fn zygote(job: RawFd, frames: RawFd) -> Result<BpfProgram, FilterError> {
    let mut rules = memory_and_time()?;
    allow(&mut rules, &ZYGOTE_ALONE);
    // fork and nothing more: no thread, no shared memory, no namespace.
    let fork_flags = u64::try_from(libc::SIGCHLD).unwrap_or_default();
    let set_parent_death_signal = u64::try_from(libc::PR_SET_PDEATHSIG).unwrap_or_default();
    rules.insert(
        libc::SYS_clone,
        vec![rule(&[(0, ArgLen::Qword, Op::Eq, fork_flags)])?],
    );
    rules.insert(
        libc::SYS_prctl,
        vec![rule(&[(
            0,
            ArgLen::Dword,
            Op::Eq,
            set_parent_death_signal,
        )])?],
    );
    limit_self(&mut rules)?;
    read_and_write(&mut rules, job, frames)?;
    compile(rules, SeccompAction::KillProcess, SeccompAction::Allow)
}

/// What a job process may not do any more, of what its zygote may: all that is the zygote's alone. The kernel asks both
/// filters and takes the sterner answer, so together they are an allow-list: read the job, compute, write frames, end. That
/// is also why this one need not look at the architecture again.
///
/// Written as the difference, and by hand, because every child installs it: the kernel checks, converts and compiles it
/// anew for each, and this is a fraction of what a compiler of filters makes of the same rules.
pub(super) fn job_process() -> Result<BpfProgram, FilterError> {
    let count = ZYGOTE_ALONE.len();
    let mut program = vec![load_number_of_call()];
    for (place, call) in ZYGOTE_ALONE.into_iter().enumerate() {
        // Over the checks that are left, and over the instruction that allows.
        program.push(leap_if(call, count - place)?);
    }
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    program.push(answer(libc::SECCOMP_RET_KILL_PROCESS));
    Ok(program)
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
    // New memory, but never executable.
    let executable = u64::try_from(libc::PROT_EXEC).unwrap_or_default();
    rules.insert(
        libc::SYS_mmap,
        vec![rule(&[(2, ArgLen::Dword, Op::MaskedEq(executable), 0)])?],
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

/// Reading jobs; writing frames, and to the standard two, which lead nowhere.
fn read_and_write(rules: &mut Rules, job: RawFd, frames: RawFd) -> Result<(), FilterError> {
    let writable: Result<Vec<_>, _> = [frames, libc::STDOUT_FILENO, libc::STDERR_FILENO]
        .map(on_descriptor)
        .into_iter()
        .collect();
    rules.insert(libc::SYS_read, vec![on_descriptor(job)?]);
    rules.insert(libc::SYS_write, writable?);
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

/// Where `struct seccomp_data` has the number of the call.
const OFFSET_OF_CALL: u32 = 0;

fn load_number_of_call() -> sock_filter {
    instruction(
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        0,
        OFFSET_OF_CALL,
    )
}

/// Leaps over `count` instructions if what was loaded is `call`.
fn leap_if(call: libc::c_long, count: usize) -> Result<sock_filter, FilterError> {
    let count = u8::try_from(count).map_err(|_| FilterError::Unrepresentable)?;
    let call = u32::try_from(call).map_err(|_| FilterError::Unrepresentable)?;
    Ok(instruction(
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
        count,
        call,
    ))
}

fn answer(what: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, what)
}

fn instruction(code: u32, jt: u8, k: u32) -> sock_filter {
    // Every code fits: they are small constants of the kernel's.
    let code = u16::try_from(code).unwrap_or(u16::MAX);
    sock_filter { code, jt, jf: 0, k }
}

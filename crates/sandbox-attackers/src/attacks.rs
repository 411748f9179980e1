//! Attacks by native code that controls the whole job process.

use crate::{forgeries, registers, rounds};
use sandpiper_sandbox::{Channel, JobBody, JobBytes};
use std::ptr;

/// Attacks that must end their caller with SIGSYS.
pub const FORBIDDEN: &[&str] = &[
    "open",
    "openat_for_writing",
    "open_memory_of_the_zygote",
    "unlink",
    "mount",
    "chdir",
    "read_the_control_socket",
    "write_the_control_socket",
    "read_its_own_frames",
    "write_its_own_job",
    "read_another_descriptor",
    "write_another_descriptor",
    "dup",
    "fcntl",
    "ioctl",
    "close",
    "close_range",
    "socket_inet",
    "socket_inet6",
    "socket_unix",
    "socket_netlink",
    "socket_packet",
    "socketpair",
    "recvmsg",
    "sendmsg",
    "sendto",
    "fork",
    "fork_with_a_guessed_secret",
    "vfork",
    "clone3",
    "thread",
    "set_tid_address",
    "set_robust_list",
    "rseq",
    "execve",
    "execveat",
    "kill_the_zygote",
    "kill_everything",
    "tgkill_self",
    "sigaction",
    "sigprocmask",
    "ptrace_the_zygote",
    "process_vm_readv",
    "process_vm_writev",
    "pidfd_open",
    "wait",
    "wait_with_a_guessed_secret",
    "waitid",
    "waitid_with_a_guessed_secret",
    "clock_of_another_process",
    "sleep_by_the_clock_of_another_process",
    "getpid",
    "getppid",
    "prctl_dumpable",
    "prctl_death_signal",
    "another_filter",
    "arch_prctl",
    "limit_of_the_zygote",
    "setuid",
    "capset",
    "unshare",
    "setns",
    "memory_to_write_and_run",
    "memory_made_executable",
    "memory_made_writable",
    "memory_of_reserved_huge_pages",
    "memory_of_reserved_gigabytes",
    "advice_on_memory",
    "advice_on_what_children_get",
    "futex",
    "nanosleep",
    "sched_yield",
    "memfd",
    "shared_memory",
    "io_uring",
    "bpf",
    "userfaultfd",
    "perf_event_open",
    "keyctl",
    "settimeofday",
    "sched_setaffinity",
    "setpriority",
    "an_x32_call",
    "a_32_bit_call",
    "a_call_that_does_not_exist",
];

/// Calls that scripts need, which must return.
pub const ALLOWED: &[&str] = &[
    "nothing",
    "map_and_unmap",
    "clock",
    "randomness",
    "limit_of_itself",
    "time_of_day",
];

/// The body that replaces the service's engine.
#[derive(Debug)]
pub struct Attacker;

impl JobBody for Attacker {
    /// An address on the zygote's stack.
    type Warm = usize;

    fn warm() -> Result<usize, String> {
        registers::mark();
        let place = std::hint::black_box([0_u8; 64]);
        Ok(std::hint::black_box(&place).as_ptr().addr())
    }

    fn run(on_zygotes_stack: usize, job: JobBytes, channel: Channel) -> ! {
        // This comes first, because all other code uses registers too.
        let count_marks = registers::count_marks();
        let texts = std::str::from_utf8(job.texts()).unwrap_or_default();
        // What a round has beside its script follows.
        let attack = texts.split('{').next().unwrap_or_default();
        if attack == "the_registers_of_its_zygote" {
            forgeries::done(channel, count_marks);
        }
        if attack == "a_look_at_the_zygotes_stack" {
            forgeries::look_at(on_zygotes_stack);
        }
        if let Some(result) = act(attack, channel) {
            forgeries::done(channel, result);
        }
        if attack == "an_honest_round" {
            rounds::honest(channel);
        }
        if attack == "a_slow_round" {
            rounds::slow(channel);
        }
        rounds::act(attack, channel);
        forgeries::act(attack, channel);
        forgeries::done(channel, -1)
    }
}

const ZYGOTE_CONTROL: i64 = 0;
/// Descriptors for jobs and frames of both slots. A job process has those of one slot.
const SLOTS: [(i64, i64); 2] = [(3, 4), (5, 6)];
const NOT_OPEN: i64 = 9;
/// A guess in place of the zygote's secret.
const A_GUESS: i64 = 0x0123_4567_89ab_cdef;
const SOME_SIGNAL: i64 = libc::SIGTERM as i64;
/// Arguments that wait for any child that has ended, without reaping it.
const WAITID: [i64; 4] = [
    libc::P_ALL as i64,
    0,
    0,
    (libc::WEXITED | libc::WNOWAIT) as i64,
];

/// Makes a raw system call. Every call in this file goes through this function.
fn call(number: i64, arguments: [i64; 6]) -> i64 {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: an attack is not meant to be safe. Pointers are null or point to memory that lives for the call, and the
    // process is thrown away.
    unsafe { libc::syscall(number, a, b, c, d, e, f) }
}

fn with<const COUNT: usize>(number: i64, arguments: [i64; COUNT]) -> Option<i64> {
    let mut all = [0; 6];
    all[..COUNT].copy_from_slice(&arguments);
    Some(call(number, all))
}

fn address<T: ?Sized>(of: &T) -> i64 {
    i64::try_from(ptr::from_ref(of).addr()).unwrap_or_default()
}

/// Makes the call that `attack` names. Returns `None` if it names none.
#[allow(clippy::too_many_lines)] // a table
fn act(attack: &str, channel: Channel) -> Option<i64> {
    let root = address(c"/");
    let message = [0_u8; 64];
    // getppid is forbidden too. Pid 1 is the zygote if it has a pid namespace, and init otherwise.
    let parent = 1;
    let (job, frames) = channel.descriptors();
    let (job, frames) = (i64::from(job), i64::from(frames));
    match attack {
        "nothing" => Some(0),
        "open" => with(libc::SYS_open, [root, 0]),
        "openat_for_writing" => with(libc::SYS_openat, [-100, address(c"/tmp/x"), 0o102, 0o600]),
        "open_memory_of_the_zygote" => with(libc::SYS_openat, [-100, address(c"/proc/1/mem"), 2]),
        "unlink" => with(libc::SYS_unlink, [root]),
        "mount" => with(libc::SYS_mount, [root, root, 0, 0]),
        "chdir" => with(libc::SYS_chdir, [root]),
        "read_the_control_socket" => with(libc::SYS_read, [ZYGOTE_CONTROL, address(&message), 1]),
        "write_the_control_socket" => with(libc::SYS_write, [ZYGOTE_CONTROL, address(&message), 1]),
        "read_its_own_frames" => with(libc::SYS_read, [frames, address(&message), 1]),
        "write_its_own_job" => with(libc::SYS_write, [job, address(&message), 1]),
        "read_another_descriptor" => with(libc::SYS_read, [NOT_OPEN, address(&message), 1]),
        "write_another_descriptor" => with(libc::SYS_write, [NOT_OPEN, address(&message), 1]),
        "dup" => with(libc::SYS_dup, [3]),
        "fcntl" => with(libc::SYS_fcntl, [3, 1]),
        "ioctl" => with(libc::SYS_ioctl, [3, 0]),
        "close" => with(libc::SYS_close, [NOT_OPEN]),
        "close_range" => with(libc::SYS_close_range, [4, 5, 0]),
        "socket_inet" => with(libc::SYS_socket, [2, 1, 0]),
        "socket_inet6" => with(libc::SYS_socket, [10, 2, 0]),
        "socket_unix" => with(libc::SYS_socket, [1, 1, 0]),
        "socket_netlink" => with(libc::SYS_socket, [16, 3, 0]),
        "socket_packet" => with(libc::SYS_socket, [17, 3, 0]),
        "socketpair" => with(libc::SYS_socketpair, [1, 1, 0, address(&message)]),
        "recvmsg" => with(libc::SYS_recvmsg, [ZYGOTE_CONTROL, address(&message), 0]),
        "sendmsg" => with(libc::SYS_sendmsg, [ZYGOTE_CONTROL, address(&message), 0]),
        "sendto" => with(libc::SYS_sendto, [ZYGOTE_CONTROL, address(&message), 1]),
        "fork" => with(libc::SYS_clone, [i64::from(libc::SIGCHLD)]),
        "fork_with_a_guessed_secret" => with(
            libc::SYS_clone,
            [i64::from(libc::SIGCHLD), 0, 0, 0, 0, A_GUESS],
        ),
        "vfork" => with(libc::SYS_vfork, []),
        "clone3" => with(libc::SYS_clone3, [address(&message), 64]),
        "thread" => with(
            libc::SYS_clone,
            [i64::from(libc::CLONE_VM | libc::CLONE_THREAD)],
        ),
        "set_tid_address" => with(libc::SYS_set_tid_address, [address(&message)]),
        "set_robust_list" => with(libc::SYS_set_robust_list, [address(&message), 24]),
        "rseq" => with(libc::SYS_rseq, [address(&message), 32, 0, 0]),
        "execve" => with(libc::SYS_execve, [address(c"/bin/sh"), 0, 0]),
        "execveat" => with(libc::SYS_execveat, [-100, address(c"/bin/sh"), 0, 0]),
        "kill_the_zygote" => with(libc::SYS_kill, [parent, SOME_SIGNAL]),
        "kill_everything" => with(libc::SYS_kill, [-1, SOME_SIGNAL]),
        "tgkill_self" => with(libc::SYS_tgkill, [1, 1, SOME_SIGNAL]),
        "sigaction" => with(libc::SYS_rt_sigaction, [SOME_SIGNAL, 0, 0, 8]),
        "sigprocmask" => with(libc::SYS_rt_sigprocmask, [0, 0, 0, 8]),
        "ptrace_the_zygote" => with(libc::SYS_ptrace, [16, parent]),
        "process_vm_readv" => with(libc::SYS_process_vm_readv, [parent]),
        "process_vm_writev" => with(libc::SYS_process_vm_writev, [parent]),
        "pidfd_open" => with(libc::SYS_pidfd_open, [parent, 0]),
        "wait" => with(libc::SYS_wait4, [-1]),
        "clock_of_another_process" => with(
            libc::SYS_clock_gettime,
            [clock_of(parent), address(&message)],
        ),
        "sleep_by_the_clock_of_another_process" => with(
            libc::SYS_clock_nanosleep,
            [clock_of(parent), 0, address(&message), 0],
        ),
        "wait_with_a_guessed_secret" => with(libc::SYS_wait4, [-1, 0, 0, 0, 0, A_GUESS]),
        "waitid" => with(libc::SYS_waitid, WAITID),
        "waitid_with_a_guessed_secret" => {
            let [whom, id, found, options] = WAITID;
            with(libc::SYS_waitid, [whom, id, found, options, 0, A_GUESS])
        }
        "getpid" => with(libc::SYS_getpid, []),
        "getppid" => with(libc::SYS_getppid, []),
        "prctl_dumpable" => with(libc::SYS_prctl, [i64::from(libc::PR_SET_DUMPABLE), 1]),
        "prctl_death_signal" => with(libc::SYS_prctl, [i64::from(libc::PR_SET_PDEATHSIG), 0]),
        "another_filter" => with(libc::SYS_seccomp, [1, 0, address(&message)]),
        "arch_prctl" => with(libc::SYS_arch_prctl, [0x1003, address(&message)]),
        "limit_of_the_zygote" => with(libc::SYS_prlimit64, [parent, 7, 0, address(&message)]),
        "setuid" => with(libc::SYS_setuid, [0]),
        "capset" => with(libc::SYS_capset, [0, 0]),
        "unshare" => with(libc::SYS_unshare, [i64::from(libc::CLONE_NEWUSER)]),
        "setns" => with(libc::SYS_setns, [3, 0]),
        "memory_to_write_and_run" => with(libc::SYS_mmap, [0, 4096, 7, 0x22, -1, 0]),
        "memory_made_executable" => {
            let page = call(libc::SYS_mmap, [0, 4096, 3, 0x22, -1, 0]);
            with(libc::SYS_mprotect, [page, 4096, 5])
        }
        "memory_made_writable" => with(libc::SYS_mprotect, [0x10000, 4096, 3]),
        "memory_of_reserved_huge_pages" => {
            let flags = i64::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB);
            with(libc::SYS_mmap, [0, 2 << 20, 3, flags, -1, 0])
        }
        "memory_of_reserved_gigabytes" => {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB;
            let flags = i64::from(flags | libc::MAP_HUGE_1GB | libc::MAP_NORESERVE);
            with(libc::SYS_mmap, [0, 1 << 30, 3, flags, -1, 0])
        }
        "advice_on_memory" => with(
            libc::SYS_madvise,
            [0x10000, 4096, i64::from(libc::MADV_HUGEPAGE)],
        ),
        "advice_on_what_children_get" => with(
            libc::SYS_madvise,
            [0x10000, 4096, i64::from(libc::MADV_DONTFORK)],
        ),
        "futex" => with(libc::SYS_futex, [address(&message), 1, 1]),
        "nanosleep" => with(libc::SYS_nanosleep, [address(&message), 0]),
        "sched_yield" => with(libc::SYS_sched_yield, []),
        "memfd" => with(libc::SYS_memfd_create, [root, 0]),
        "shared_memory" => with(libc::SYS_shmget, [0, 4096, 0o1600]),
        "io_uring" => with(libc::SYS_io_uring_setup, [1, address(&message)]),
        "bpf" => with(libc::SYS_bpf, [0, address(&message), 64]),
        "userfaultfd" => with(libc::SYS_userfaultfd, [0]),
        "perf_event_open" => with(libc::SYS_perf_event_open, [address(&message), 0, -1, -1, 0]),
        "keyctl" => with(libc::SYS_keyctl, [0, 0]),
        "settimeofday" => with(libc::SYS_settimeofday, [0, 0]),
        "sched_setaffinity" => with(libc::SYS_sched_setaffinity, [0, 8, address(&message)]),
        "setpriority" => with(libc::SYS_setpriority, [0, 0, 0]),
        "an_x32_call" => with(0x4000_0000 | libc::SYS_getpid, []),
        "a_32_bit_call" => Some(a_32_bit_call()),
        "a_call_that_does_not_exist" => with(9_999, []),

        "map_and_unmap" => {
            let page = call(libc::SYS_mmap, [0, 4096, 3, 0x22, -1, 0]);
            with(libc::SYS_munmap, [page, 4096])
        }
        "clock" => with(libc::SYS_clock_gettime, [1, address(&message)]),
        "randomness" => with(libc::SYS_getrandom, [address(&message), 8, 0]),
        "limit_of_itself" => with(libc::SYS_prlimit64, [0, 7, 0, address(&message)]),
        "time_of_day" => with(libc::SYS_gettimeofday, [address(&message), 0]),
        "map_memory_until_refused" => Some(map_until_refused()),
        "touch_the_other_slot" => Some(touch_the_slot_other_than(job)),
        "write_after_the_final_frame" => forgeries::write_after_the_final_frame(channel),
        "log_then_spin" => forgeries::log_then_spin(channel),
        _ => None,
    }
}

/// Returns the kernel's number for the processor clock of a process.
fn clock_of(pid: i64) -> i64 {
    (!pid << 3) | 2
}

/// Makes a call through the entry point of 32-bit programs, which has another table of system calls (20 is getpid).
fn a_32_bit_call() -> i64 {
    let returned: i64;
    // SAFETY: the call takes no pointer. The kernel preserves every register but rax.
    unsafe { std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => returned) };
    returned
}

/// Returns the number of calls that succeeded on the slot that this process does not have.
fn touch_the_slot_other_than(own_job: i64) -> i64 {
    let byte = [0_u8];
    let others = SLOTS.into_iter().filter(|(job, _)| *job != own_job);
    let came_through = others.map(|(job, frames)| {
        i64::from(call(libc::SYS_read, [job, address(&byte), 1, 0, 0, 0]) >= 0)
            + i64::from(call(libc::SYS_write, [frames, address(&byte), 1, 0, 0, 0]) >= 0)
    });
    came_through.sum()
}

/// Returns the bytes of writable memory that the kernel grants, in steps of a megabyte.
fn map_until_refused() -> i64 {
    const STEP: i64 = 1 << 20;
    (0..100_000)
        .find(|_| call(libc::SYS_mmap, [0, STEP, 3, 0x22, -1, 0]) < 0)
        .map_or(i64::MAX, |steps| steps * STEP)
}

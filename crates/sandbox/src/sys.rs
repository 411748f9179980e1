//! Raw system calls that no crate wraps, or that a crate wraps with an allocation that the job process must not make.
//!
//! No function here makes a decision. The calls that only a zygote may make are in `privilege`.

use super::code_mover::CodeMover;
use nix::errno::Errno;
use nix::unistd::Pid;
use sandpiper_sandbox_protocol::ChildReport;
use seccompiler::sock_filter;
use std::ffi::c_void;
use std::ops::Range;
use std::os::fd::RawFd;
use std::ptr;
use std::time::Duration;

/// The two sides on which a fork returns.
#[derive(Debug)]
pub(super) enum Forked {
    /// This is the new process.
    Child,
    /// This is the old process. The pid is the child's.
    Parent(Pid),
}

/// Forks. The caller has one thread.
///
/// Makes the system call directly. The C library's function also handles locks of other threads and `atfork` handlers
/// and records the thread's number. None of that is needed here, and every page that it writes would be copied into
/// each child.
pub(super) fn fork() -> Result<Forked, Errno> {
    const NOTHING: libc::c_ulong = 0;
    // SAFETY: every caller is a zygote, during its set-up (launcher, rehearsal) or in its proof. Each is entered from
    // the top of `main` with one thread (asserted by `layers::assert_one_thread`), so the child inherits no lock that
    // another thread holds. No memory is shared, and the child continues on its copy of this stack.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            libc::c_long::from(libc::SIGCHLD),
            NOTHING,
            NOTHING,
            NOTHING,
            NOTHING,
        )
    };
    match i32::try_from(Errno::result(pid)?).map_err(|_| Errno::EOVERFLOW)? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(Pid::from_raw(pid))),
    }
}

/// Ends this process at once: no destructor, no `atexit`, no flushing.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no precondition.
    unsafe { libc::_exit(code) }
}

pub(super) fn close_fd(descriptor: RawFd) {
    // SAFETY: the callers own the descriptor by its number (0 in a process that was just forked) and do not use it
    // again.
    unsafe {
        libc::close(descriptor);
    }
}

/// Closes every descriptor from `first` on.
pub(super) fn close_from(first: RawFd) {
    let first_unsigned = libc::c_uint::try_from(first).unwrap_or_default();
    // SAFETY: called at the top of `main`, when nothing in this process owns a descriptor above the standard three.
    let closed =
        unsafe { libc::syscall(libc::SYS_close_range, first_unsigned, libc::c_uint::MAX, 0) };
    if closed == 0 {
        return;
    }
    // gVisor has no close_range.
    let open_max = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        .map_or(1024, |(soft, _)| soft.min(65_536));
    for descriptor in first..RawFd::try_from(open_max).unwrap_or(1024) {
        close_fd(descriptor);
    }
}

/// Installs a seccomp filter on this thread. Needs no-new-privileges.
pub(super) fn install_filter(program: &[sock_filter]) -> Result<(), Errno> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: `program` points at `len` instructions that live for the call; the kernel copies them and never writes.
    // `seccompiler::sock_filter` has the kernel's layout (`repr(C)`).
    let installed = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    Errno::result(installed).map(drop)
}

pub(super) fn drop_capabilities() -> Result<(), Errno> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let nothing = [const {
        Data {
            effective: 0,
            permitted: 0,
            inheritable: 0,
        }
    }; 2];
    // SAFETY: version 3 of the call reads one header and two data words, which is what is passed.
    let dropped = unsafe { libc::syscall(libc::SYS_capset, &raw const header, nothing.as_ptr()) };
    Errno::result(dropped).map(drop)
}

/// Restores the kernel's default action for signal `number`.
pub(super) fn reset_signal(number: i32) {
    // SAFETY: SIG_DFL installs no code of ours.
    unsafe {
        libc::signal(number, libc::SIG_DFL);
    }
}

pub(super) fn set_niceness(niceness: i32) -> Result<(), Errno> {
    // SAFETY: no pointer is passed.
    let set = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) };
    Errno::result(set).map(drop)
}

/// Makes the kernel refuse memory that is both written and executed, from now on (kernel 6.3; EINVAL elsewhere).
pub(super) fn refuse_executable_gain() -> Result<(), Errno> {
    const PR_SET_MDWE: libc::c_int = 65;
    const PR_MDWE_REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    // SAFETY: no pointer is passed.
    let set = unsafe { libc::prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) };
    Errno::result(set).map(drop)
}

/// Returns the report of a child for which `waitid` has returned.
pub(super) fn child_report(info: &libc::siginfo_t, usage: &libc::rusage) -> ChildReport {
    // SAFETY: `waitid` fills this part of the union in.
    let status = unsafe { info.si_status() };
    let has_exited = info.si_code == libc::CLD_EXITED;
    ChildReport {
        signal: (!has_exited).then_some(status),
        exit_code: has_exited.then_some(status),
        peak_resident_bytes: peak_resident_bytes(usage),
        cpu: [usage.ru_utime, usage.ru_stime].map(duration).iter().sum(),
    }
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let micros = u64::try_from(time.tv_usec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

fn peak_resident_bytes(usage: &libc::rusage) -> u64 {
    u64::try_from(usage.ru_maxrss).unwrap_or_default() * 1024
}

/// Waits for the child `pid` to end.
pub(super) fn wait_for(pid: Pid) {
    // SAFETY: both pointers are null, so the kernel writes nothing.
    while Errno::result(unsafe { libc::wait4(pid.as_raw(), ptr::null_mut(), 0, ptr::null_mut()) })
        == Err(Errno::EINTR)
    {}
}

pub(super) fn read_fd(descriptor: RawFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the pointer and the length are of one live buffer.
    let read = unsafe { libc::read(descriptor, buffer.as_mut_ptr().cast(), buffer.len()) };
    Errno::result(read).map(|count| usize::try_from(count).unwrap_or_default())
}

pub(super) fn write_fd(descriptor: RawFd, bytes: &[u8]) -> Result<usize, Errno> {
    // SAFETY: the pointer and the length are of one live buffer.
    let written = unsafe { libc::write(descriptor, bytes.as_ptr().cast(), bytes.len()) };
    Errno::result(written).map(|count| usize::try_from(count).unwrap_or_default())
}

/// Copies the memory at `range` to pages of `huge` bytes and moves them to its place, over all of `whole`: the range
/// extended to huge boundaries, where nothing else is mapped. Leaves everything as it was if `is_huge` rejects the
/// copy.
pub(super) fn replace_by_huge_pages(
    mover: &CodeMover,
    range: &Range<usize>,
    whole: &Range<usize>,
    huge: usize,
    is_executable: bool,
    is_huge: impl Fn(&Range<usize>) -> bool,
) {
    let rights = libc::PROT_READ | if is_executable { libc::PROT_EXEC } else { 0 };
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let writable = libc::PROT_READ | libc::PROT_WRITE;
    let room_bytes = whole.len() + huge;
    // SAFETY: a new mapping, at an address of the kernel's choice.
    let room = unsafe { libc::mmap(ptr::null_mut(), room_bytes, writable, private, -1, 0) };
    if room == libc::MAP_FAILED {
        return;
    }
    let start = room.addr().next_multiple_of(huge);
    let copy = room.with_addr(start);
    // SAFETY: `copy` and the `whole.len()` bytes after it lie inside the new mapping, which nothing else uses. The
    // caller guarantees that the source is mapped readable. The last step puts the same bytes, with the same rights,
    // back in their place in one system call. It covers nothing else but memory that the caller guarantees to be
    // unmapped. Code that runs from there, this function included, does not notice. If that call fails, the range may
    // be unmapped already, and the process ends before anything runs or reads there.
    unsafe {
        libc::madvise(copy, whole.len(), libc::MADV_HUGEPAGE);
        let target = copy.byte_add(range.start - whole.start);
        ptr::copy_nonoverlapping(
            ptr::with_exposed_provenance::<u8>(range.start),
            target.cast(),
            range.len(),
        );
        libc::munmap(room, start - room.addr());
        libc::munmap(copy.byte_add(whole.len()), room.addr() + huge - start);
        if libc::mprotect(copy, whole.len(), rights) != 0 || !is_huge(&(start..start + whole.len()))
        {
            libc::munmap(copy, whole.len());
            return;
        }
        let place = ptr::with_exposed_provenance_mut::<c_void>(whole.start);
        mover.move_into_place(copy, whole.len(), place);
    }
}

/// Disables one kind of speculation for this process and its children for good, where the kernel lets a process decide.
/// Returns the resulting state in words, and true if that state is safe.
pub(super) fn disable_speculation(kind: Speculation) -> (&'static str, bool) {
    const PR_GET_SPECULATION_CTRL: libc::c_int = 52;
    const PR_SET_SPECULATION_CTRL: libc::c_int = 53;
    const BY_PRCTL: libc::c_int = 1;
    const DISABLED: libc::c_int = 4;
    const FORCE_DISABLED: libc::c_int = 8;
    const NOT_AFFECTED: libc::c_int = 0;
    let number = kind as libc::c_ulong;
    // SAFETY: no pointer is passed.
    let state = unsafe { libc::prctl(PR_GET_SPECULATION_CTRL, number, 0, 0, 0) };
    match state {
        NOT_AFFECTED => return ("not affected", true),
        state if state < 0 => return ("not offered by this kernel", false),
        state if state & (DISABLED | FORCE_DISABLED) != 0 => return ("disabled", true),
        state if state & BY_PRCTL == 0 => {
            return ("left on by this kernel for all processes", false);
        }
        _ => {}
    }
    let off = libc::c_ulong::try_from(FORCE_DISABLED).unwrap_or_default();
    // SAFETY: no pointer is passed.
    match unsafe { libc::prctl(PR_SET_SPECULATION_CTRL, number, off, 0, 0) } {
        0 => ("disabled", true),
        _ => ("refused by this kernel", false),
    }
}

/// A kind of speculation, by the kernel's number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Speculation {
    /// Loads that are executed before older stores.
    StoreBypass = 0,
    /// Predicted targets of indirect branches.
    IndirectBranch = 1,
}

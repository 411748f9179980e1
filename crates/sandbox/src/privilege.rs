//! What tells a zygote's system calls from those of its job processes: a secret that a fork does not copy.
//!
//! One filter serves both. The calls that are the zygote's alone (fork, take orders, reap, report) pass it only with 64
//! secret bits in their sixth argument, which none of them uses. The secret lies in a page that the kernel leaves out of
//! every fork (`MADV_DONTFORK`), and outside it only in the kernel's copy of the filter, which nobody can read back, and in
//! one register for the length of one call. A job process is born inside such a call: it makes the few that belong to its
//! birth there, in [`fork`](Privilege::fork), and forgets the register before it runs anything else.
//!
//! A filter of its own for every job process would need no secret. The kernel would check, compile and free one for every
//! execution; some twenty microseconds each, and at several thousand a second Linux 6.18 locked up for good.

use super::sys::{self, Forked};
use nix::errno::Errno;
use nix::unistd::Pid;
use sandpiper_sandbox_protocol::ChildReport;
use sandpiper_sandbox_protocol::{Descriptors, Side};
use seccompiler::sock_filter;
use std::arch::asm;
use std::ffi::{c_long, c_void};
use std::ops::Range;
use std::ptr::{self, NonNull};

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("a zygote's calls are written in assembly, so far for Linux on x86-64 only");

const PAGE_BYTES: usize = 4096;
/// The descriptor of the control socket.
const CONTROL: usize = 0;

/// Stands in a filter where the secret will: it is written over a finished program, so that no compiler of filters
/// leaves copies of it behind.
pub(super) const PLACEHOLDER: u64 = 0x9d5c_02f7_6e1b_a843;

/// What a job process exits with when its birth fails.
const EXIT_BROKEN: i32 = 71;

/// The way to the calls that only a zygote may make. One a zygote.
#[derive(Debug)]
pub(super) struct Privilege {
    /// 64 random bits, in a page that no child has.
    page: NonNull<u64>,
    /// The parts of a child's registers that can be reset at once.
    registers: usize,
}

/// The parts of a process's registers that a job process is born without: x87, SSE, AVX and AVX-512. Numbers of bits in
/// `XCR0`.
const REGISTERS: usize = 0b1110_0111;

/// An area for `xrstor` in which every part is in its initial state: a part that its header does not list is zeroed.
#[repr(C, align(64))]
struct InitialRegisters {
    before_control: [u8; 24],
    /// The only register that comes from here: the rounding mode and masks that processes begin with.
    mxcsr: u32,
    rest: [u8; 576 - 28],
}

static INITIAL_REGISTERS: InitialRegisters = InitialRegisters {
    before_control: [0; 24],
    mxcsr: 0x1f80,
    rest: [0; 576 - 28],
};

/// The parts of [`REGISTERS`] that `xrstor` can reset here; none where the kernel has not enabled it.
fn resettable_registers() -> usize {
    // The macro asks the kernel's word (OSXSAVE) as well as the processor's.
    if !std::arch::is_x86_feature_detected!("xsave") {
        return 0;
    }
    let enabled: u32;
    // SAFETY: `xgetbv` is there wherever the kernel has enabled `xsave`; register 0 always exists.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") enabled, out("edx") _, options(nomem, nostack));
    }
    usize::try_from(enabled).unwrap_or_default() & REGISTERS
}

/// Where a job process begins. Never returns: its stack has nothing to return to.
pub(super) type Beginning = unsafe extern "C" fn(*const c_void, &'static Descriptors) -> !;

impl Privilege {
    /// A new secret, from the kernel, in a page of its own.
    pub(super) fn new() -> Result<Self, Errno> {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let page = unsafe { libc::mmap(ptr::null_mut(), PAGE_BYTES, rights, private, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        // SAFETY: the page is ours, and as long as is said.
        Errno::result(unsafe { libc::madvise(page, PAGE_BYTES, libc::MADV_DONTFORK) })?;
        // SAFETY: the kernel writes eight bytes to the page.
        let filled = unsafe { libc::getrandom(page, size_of::<u64>(), 0) };
        if Errno::result(filled)? != 8 {
            return Err(Errno::EIO);
        }
        // Neither a core file nor swap may have it. Comfort: a zygote has no core file, and may have no locked memory.
        // SAFETY: as above; neither changes what is in the page.
        unsafe {
            libc::madvise(page, PAGE_BYTES, libc::MADV_DONTDUMP);
            libc::mlock(page, PAGE_BYTES);
        }
        let page = NonNull::new(page.cast()).ok_or(Errno::EFAULT)?;
        Ok(Self {
            page,
            registers: resettable_registers(),
        })
    }

    /// Writes the secret over each [`PLACEHOLDER`] of `program`, and says how many there were. Once the kernel has the
    /// program, [`wipe`] it.
    pub(super) fn fill_in(&self, program: &mut [sock_filter]) -> usize {
        let halves = |word: u64| [(word >> 32) as u32, (word & 0xffff_ffff) as u32];
        // SAFETY: the page holds the secret for as long as there is a `Privilege`.
        let secret = halves(unsafe { self.page.read_volatile() });
        let mut filled = 0;
        for instruction in program {
            // A filter compares 32 bits at a time.
            for (half, placeholder) in secret.into_iter().zip(halves(PLACEHOLDER)) {
                if instruction.k == placeholder {
                    instruction.k = half;
                    filled += 1;
                }
            }
        }
        filled / 2
    }

    /// Makes system call `number`. Its sixth argument is the secret.
    ///
    /// # Safety
    /// As that call says.
    pub(super) unsafe fn call(
        &self,
        number: c_long,
        arguments: [usize; 5],
    ) -> Result<usize, Errno> {
        let [a, b, c, d, e] = arguments;
        let answer: i64;
        // SAFETY: the caller says that the call is sound with these arguments. The kernel keeps every register but three,
        // and the one that held the secret is emptied.
        unsafe {
            asm!(
                "mov r9, [r11]",
                "syscall",
                "xor r9d, r9d",
                inlateout("rax") number => answer,
                in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
                out("r9") _, lateout("rcx") _, inlateout("r11") self.page.as_ptr() => _,
                options(nostack),
            );
        }
        usize::try_from(answer).map_err(|_| Errno::from_raw(i32::try_from(-answer).unwrap_or(0)))
    }

    /// Forks. The child zeroes its vector registers, closes the line that is not its own, ties its life to `zygote`, which is this process, says hello on
    /// descriptor 0, closes that, and goes on in `beginning` with `argument`, on the empty stack that ends at `stack_end`. The
    /// parent gets its pid.
    ///
    /// # Safety
    /// This process has one thread. `stack_end` is the end of writable memory that a fork copies, large enough for
    /// `beginning`, and aligned to 16 bytes. `argument` is what `beginning` wants, and does not lie on this stack.
    pub(super) unsafe fn fork(
        &self,
        zygote: Pid,
        side: Side,
        stack_end: *mut c_void,
        beginning: Beginning,
        argument: *const c_void,
    ) -> Result<Pid, Errno> {
        let answer: i64;
        let (own, others) = (side.descriptors(), side.other().descriptors());
        // SAFETY: no memory is shared with the child. It touches nothing of this stack, runs on its own, and never comes
        // back; what it inherits else is what this process has at the moment of the call. Of all that only the parent
        // returns from here, with its registers as the kernel keeps them.
        unsafe {
            asm!(
                "mov r9, [r11]",
                "syscall",
                "test rax, rax",
                "jnz 3f",

                // What the zygote last computed with is none of a job's business, least of all halves of the secret. Of the
                // registers that come next the first two are free, and the kernel keeps the third, which came with the fork.
                "mov esi, edx",
                "xorps xmm0, xmm0", "xorps xmm1, xmm1", "xorps xmm2, xmm2", "xorps xmm3, xmm3",
                "xorps xmm4, xmm4", "xorps xmm5, xmm5", "xorps xmm6, xmm6", "xorps xmm7, xmm7",
                "xorps xmm8, xmm8", "xorps xmm9, xmm9", "xorps xmm10, xmm10", "xorps xmm11, xmm11",
                "xorps xmm12, xmm12", "xorps xmm13, xmm13", "xorps xmm14, xmm14", "xorps xmm15, xmm15",
                "mov eax, r10d",
                "test eax, eax",
                "jz 4f",
                "xor edx, edx",
                "lea rdi, [rip + {initial_registers}]",
                "xrstor64 [rdi]",
                "4:",
                "mov edx, esi",

                // The kernel keeps what it does not use: these two came with the fork.
                "mov eax, {close}",
                "mov edi, edx",
                "syscall",
                "test eax, eax",
                "jnz 2f",
                "mov eax, {close}",
                "mov edi, r8d",
                "syscall",
                "test eax, eax",
                "jnz 2f",
                "xor r8d, r8d",

                "mov eax, {prctl}",
                "mov edi, {death_signal}",
                "mov esi, {kill}",
                "syscall",
                "test eax, eax",
                "jnz 2f",

                // Its zygote may have died before that.
                "mov eax, {getppid}",
                "syscall",
                "cmp eax, r14d",
                "jne 2f",

                "mov eax, {sendto}",
                "xor edi, edi",
                "mov rsi, r15",
                "mov edx, 1",
                "mov r10d, {no_signal}",
                "syscall",
                "cmp eax, 1",
                "jne 2f",

                "mov eax, {close}",
                "xor edi, edi",
                "syscall",

                "xor r9d, r9d",
                "xor ebp, ebp",
                "mov rdi, r13",
                "mov rsi, r15",
                "call r12",
                "ud2",

                "2:",
                "xor r9d, r9d",
                "mov eax, {exit_group}",
                "mov edi, {broken}",
                "syscall",
                "ud2",

                "3:",
                "xor r9d, r9d",
                initial_registers = sym INITIAL_REGISTERS,
                prctl = const libc::SYS_prctl,
                death_signal = const libc::PR_SET_PDEATHSIG,
                kill = const libc::SIGKILL,
                getppid = const libc::SYS_getppid,
                sendto = const libc::SYS_sendto,
                no_signal = const libc::MSG_NOSIGNAL,
                close = const libc::SYS_close,
                exit_group = const libc::SYS_exit_group,
                broken = const EXIT_BROKEN,
                inlateout("rax") libc::SYS_clone => answer,
                in("rdi") libc::SIGCHLD as isize,
                in("rsi") stack_end,
                in("rdx") others.job as isize, in("r8") others.frames as isize,
                in("r10") self.registers, // a thread's place, had one been asked for
                in("r12") beginning,
                in("r13") argument,
                in("r14") zygote.as_raw() as isize,
                in("r15") ptr::from_ref(own), // its first byte is the hello
                out("r9") _, lateout("rcx") _, inlateout("r11") self.page.as_ptr() => _,
                options(nostack),
            );
        }
        match i32::try_from(answer).map_err(|_| Errno::EOVERFLOW)? {
            pid if pid > 0 => Ok(Pid::from_raw(pid)),
            errno => Err(Errno::from_raw(-errno)),
        }
    }

    /// Forks, and both go on from here, the child with a copy of this stack. For the proof: a job process has its own.
    pub(super) fn fork_copy(&self) -> Result<Forked, Errno> {
        let flags = usize::try_from(libc::SIGCHLD).unwrap_or_default();
        // SAFETY: a zygote has one thread, so the child inherits no lock that another holds; no memory is shared.
        let pid = unsafe { self.call(libc::SYS_clone, [flags, 0, 0, 0, 0]) }?;
        match i32::try_from(pid).map_err(|_| Errno::EOVERFLOW)? {
            0 => Ok(Forked::Child),
            pid => Ok(Forked::Parent(Pid::from_raw(pid))),
        }
    }

    /// Waits for the child `pid` to end, and reaps it.
    pub(super) fn reap(&self, pid: Pid) -> Result<(), Errno> {
        let pid = usize::try_from(pid.as_raw()).map_err(|_| Errno::ECHILD)?;
        loop {
            // SAFETY: nothing is asked for that would have to be written.
            match unsafe { self.call(libc::SYS_wait4, [pid, 0, 0, 0, 0]) } {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Waits for the child `pid` to end, and leaves it to be reaped.
    pub(super) fn wait_for(&self, pid: Pid) -> Result<ChildReport, Errno> {
        // SAFETY: both are plain numbers, for which all zeroes is a value.
        let (mut info, mut usage): (libc::siginfo_t, libc::rusage) = unsafe { std::mem::zeroed() };
        let options = libc::WEXITED | libc::WNOWAIT;
        let arguments = [
            usize::try_from(libc::P_PID).unwrap_or_default(),
            usize::try_from(pid.as_raw()).map_err(|_| Errno::ECHILD)?,
            (&raw mut info).expose_provenance(),
            usize::try_from(options).unwrap_or_default(),
            (&raw mut usage).expose_provenance(),
        ];
        loop {
            // SAFETY: both pointers are to locals that live for the call.
            match unsafe { self.call(libc::SYS_waitid, arguments) } {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
                Ok(_) => return Ok(sys::child_report(&info, &usage)),
            }
        }
    }

    /// Sends one packet to the executor.
    pub(super) fn send(&self, packet: &[u8]) -> Result<(), Errno> {
        let flags = usize::try_from(libc::MSG_NOSIGNAL).unwrap_or_default();
        let arguments = [
            CONTROL,
            packet.as_ptr().expose_provenance(),
            packet.len(),
            flags,
            0,
        ];
        // SAFETY: the pointer and the length are of one live buffer; there is no address.
        unsafe { self.call(libc::SYS_sendto, arguments) }.map(drop)
    }

    /// Receives one packet; an empty one when the executor is gone. Allocates nothing: what a zygote writes to its heap
    /// between two forks is a page to copy. (Not by `recvfrom`: gVisor looks at its sixth argument even without an address.)
    pub(super) fn receive(&self, packet: &mut [u8]) -> Result<usize, Errno> {
        let mut part = libc::iovec {
            iov_base: packet.as_mut_ptr().cast(),
            iov_len: packet.len(),
        };
        // SAFETY: `msghdr` is pointers and numbers, for which all zeroes is a value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        let message = (&raw mut message).expose_provenance();
        // SAFETY: everything that `message` points at lives for the call, with its true length.
        unsafe { self.call(libc::SYS_recvmsg, [CONTROL, message, 0, 0, 0]) }
    }

    /// Leaves `range` out of every fork to come.
    pub(super) fn keep_from_children(&self, range: Range<usize>) -> Result<(), Errno> {
        let advice = usize::try_from(libc::MADV_DONTFORK).unwrap_or_default();
        // SAFETY: the advice changes nothing in this process.
        unsafe { self.call(libc::SYS_madvise, [range.start, range.len(), advice, 0, 0]) }.map(drop)
    }

    /// Reads the secret: what a child must die of.
    pub(super) fn touch(&self) {
        // SAFETY: in a zygote the page is there. In its child it is not, and the kernel ends the child.
        let _ = std::hint::black_box(unsafe { self.page.read_volatile() });
    }
}

/// Overwrites a filter that has had the secret in it.
pub(super) fn wipe(program: &mut [sock_filter]) {
    for instruction in program {
        // SAFETY: a reference is valid for a write. Volatile: nobody reads what is written, which is its purpose.
        unsafe { ptr::from_mut(&mut instruction.k).write_volatile(0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_takes_the_place_of_each_placeholder_and_can_be_wiped() {
        let privilege = Privilege::new().unwrap();
        let instruction = |k| sock_filter {
            code: 0,
            jt: 0,
            jf: 0,
            k,
        };
        let mut program = [
            instruction(0x9d5c_02f7),
            instruction(7),
            instruction(0x6e1b_a843),
        ];
        assert_eq!(privilege.fill_in(&mut program), 1);
        // SAFETY: the page lives as long as the process.
        let secret = unsafe { privilege.page.read() };
        let word = (u64::from(program[0].k) << 32) | u64::from(program[2].k);
        assert_eq!(word, secret);
        assert_ne!(secret, PLACEHOLDER);
        assert_eq!(program[1].k, 7);
        wipe(&mut program);
        assert!(program.iter().all(|instruction| instruction.k == 0));
    }
}

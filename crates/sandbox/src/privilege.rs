//! The secret that distinguishes a zygote's system calls from those of its job processes. A fork does not copy it.
//!
//! One filter serves both. The calls that only the zygote may make (fork, take orders, reap, report) pass the filter
//! only with 64 secret bits in their sixth argument, which none of them uses. The secret is in a page that the kernel
//! leaves out of every fork (`MADV_DONTFORK`). Elsewhere it exists only in the kernel's copy of the filter, which
//! cannot be read back, and in one register for the length of one call. A job process is forked inside such a call. In
//! [`fork`](Privilege::fork) it makes the few privileged calls that set it up, and clears the register before it runs
//! anything else.
//!
//! A separate filter for every job process would need no secret. The kernel would then check, compile and free one
//! filter for every execution. Each takes some twenty microseconds, and at several thousand a second Linux 6.18 locked
//! up for good.

use super::job_process::EXIT_BROKEN;
use super::sys::{self, Forked};
use nix::errno::Errno;
use nix::unistd::Pid;
use sandpiper_sandbox_protocol::ChildReport;
use sandpiper_sandbox_protocol::{Descriptors, Slot};
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

/// The value in a filter that the secret replaces. The secret is written into the finished program, so that the filter
/// compiler leaves no copies of it behind.
pub(super) const PLACEHOLDER: u64 = 0x9d5c_02f7_6e1b_a843;

/// Access to the calls that only a zygote may make. A zygote has one.
#[derive(Debug)]
pub(super) struct Privilege {
    /// The secret: 64 random bits, in a page that no child has.
    page: NonNull<u64>,
    /// The components of a child's registers that one instruction can reset.
    registers: usize,
}

/// The register components that a job process starts without: x87, SSE, AVX and AVX-512. Bits of `XCR0`.
const REGISTERS: usize = 0b1110_0111;

/// An area for `xrstor` that puts every component into its initial state: a component that the header does not list is
/// zeroed.
#[repr(C, align(64))]
struct InitialRegisters {
    before_control: [u8; 24],
    /// The only register that is loaded from this area: the rounding mode and exception masks of a new process.
    mxcsr: u32,
    rest: [u8; 576 - 28],
}

static INITIAL_REGISTERS: InitialRegisters = InitialRegisters {
    before_control: [0; 24],
    mxcsr: 0x1f80,
    rest: [0; 576 - 28],
};

/// Returns the components of [`REGISTERS`] that `xrstor` can reset here; none if the kernel has not enabled it.
fn resettable_registers() -> usize {
    // The macro checks both the processor and the kernel (OSXSAVE).
    if !std::arch::is_x86_feature_detected!("xsave") {
        return 0;
    }
    let enabled: u32;
    // SAFETY: `xgetbv` exists wherever the kernel has enabled `xsave`. Register 0 always exists.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") enabled, out("edx") _, options(nomem, nostack));
    }
    usize::try_from(enabled).unwrap_or_default() & REGISTERS
}

/// The entry point of a job process. It never returns; its return address leads to an invalid instruction.
pub(super) type EntryPoint = unsafe extern "C" fn(*const c_void, &'static Descriptors) -> !;

impl Privilege {
    /// Creates a secret from the kernel's random numbers, in a page of its own.
    pub(super) fn new() -> Result<Self, Errno> {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let page = unsafe { libc::mmap(ptr::null_mut(), PAGE_BYTES, rights, private, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        // SAFETY: this function owns the page, which is that long.
        Errno::result(unsafe { libc::madvise(page, PAGE_BYTES, libc::MADV_DONTFORK) })?;
        // SAFETY: the kernel writes eight bytes to the page.
        let filled = unsafe { libc::getrandom(page, size_of::<u64>(), 0) };
        if Errno::result(filled)? != 8 {
            return Err(Errno::EIO);
        }
        // Keeps the secret out of core files and swap. Failures are ignored: a zygote writes no core file, and may be
        // allowed no locked memory.
        // SAFETY: as above. Neither call changes the content of the page.
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

    /// Writes the secret over each [`PLACEHOLDER`] of `program` and returns how many there were. [`wipe`] the program
    /// once the kernel has it.
    pub(super) fn insert_secret(&self, program: &mut [sock_filter]) -> usize {
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
    /// The call must be sound with these arguments.
    pub(super) unsafe fn call(
        &self,
        number: c_long,
        arguments: [usize; 5],
    ) -> Result<usize, Errno> {
        let [a, b, c, d, e] = arguments;
        let returned: i64;
        // SAFETY: the caller guarantees that the call is sound with these arguments. The kernel preserves every
        // register but three, and the register that held the secret is cleared.
        unsafe {
            asm!(
                "mov r9, [r11]",
                "syscall",
                "xor r9d, r9d",
                inlateout("rax") number => returned,
                in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
                out("r9") _, lateout("rcx") _, inlateout("r11") self.page.as_ptr() => _,
                options(nostack),
            );
        }
        usize::try_from(returned)
            .map_err(|_| Errno::from_raw(i32::try_from(-returned).unwrap_or(0)))
    }

    /// Forks. Returns the child's pid in the parent.
    ///
    /// The child zeroes its vector registers, closes the descriptors of the other slot, asks to die with `zygote` (this
    /// process), sends its hello on descriptor 0 and closes that descriptor. It then enters `entry_point` with
    /// `argument`, on the empty stack that ends at `stack_end`.
    ///
    /// # Safety
    /// This process has one thread. `stack_end` is the end of writable memory that a fork copies, large enough for
    /// `entry_point` and aligned to 16 bytes. `argument` has the type that `entry_point` expects, and does not lie on
    /// this stack.
    pub(super) unsafe fn fork(
        &self,
        zygote: Pid,
        slot: Slot,
        stack_end: *mut c_void,
        entry_point: EntryPoint,
        argument: *const c_void,
    ) -> Result<Pid, Errno> {
        let returned: i64;
        let (own, others) = (slot.descriptors(), slot.other().descriptors());
        // SAFETY: no memory is shared with the child. The child touches nothing of this stack, runs on its own stack
        // and never returns. It inherits the state that this process has at the moment of the call. Only the parent
        // returns from here, with its registers as the kernel preserves them.
        unsafe {
            asm!(
                "mov r9, [r11]",
                "syscall",
                "test rax, rax",
                "jnz 3f",

                // Registers may hold remains of the zygote's work, halves of the secret among them. A job must not see
                // them. Of the registers used next, the first two are free, and the kernel preserves the third since
                // the fork.
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

                // The kernel preserves registers that it does not use: these two were set before the fork.
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

                // The zygote may have died before the death signal was set.
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
                inlateout("rax") libc::SYS_clone => returned,
                in("rdi") libc::SIGCHLD as isize,
                in("rsi") stack_end,
                in("rdx") others.job as isize, in("r8") others.frames as isize,
                // clone's child_tid argument, which the kernel ignores without a flag for it; kept for xrstor
                in("r10") self.registers,
                in("r12") entry_point,
                in("r13") argument,
                in("r14") zygote.as_raw() as isize,
                in("r15") ptr::from_ref(own), // its first byte is the hello
                out("r9") _, lateout("rcx") _, inlateout("r11") self.page.as_ptr() => _,
                options(nostack),
            );
        }
        match i32::try_from(returned).map_err(|_| Errno::EOVERFLOW)? {
            pid if pid > 0 => Ok(Pid::from_raw(pid)),
            errno => Err(Errno::from_raw(-errno)),
        }
    }

    /// Forks. Both processes continue from here, the child with a copy of this stack. For the proof alone: a job
    /// process has its own stack.
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
            // SAFETY: all pointers are null, so the kernel writes nothing.
            match unsafe { self.call(libc::SYS_wait4, [pid, 0, 0, 0, 0]) } {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Waits for the child `pid` to end, and returns how it ended. The child is not reaped.
    pub(super) fn wait_for(&self, pid: Pid) -> Result<ChildReport, Errno> {
        // SAFETY: both are plain numbers, for which all zeroes are a valid value.
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

    /// Receives one packet. Returns 0 when the executor is gone. Allocates nothing: every page of the heap that a
    /// zygote writes between two forks must be copied. (`recvfrom` is no alternative: gVisor checks its sixth argument
    /// even without an address.)
    pub(super) fn receive(&self, packet: &mut [u8]) -> Result<usize, Errno> {
        let mut part = libc::iovec {
            iov_base: packet.as_mut_ptr().cast(),
            iov_len: packet.len(),
        };
        // SAFETY: `msghdr` consists of pointers and numbers, for which all zeroes are a valid value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        let message = (&raw mut message).expose_provenance();
        // SAFETY: every pointer in `message` is to memory that lives for the call and has the given length.
        unsafe { self.call(libc::SYS_recvmsg, [CONTROL, message, 0, 0, 0]) }
    }

    /// Leaves `range` out of every later fork.
    pub(super) fn exclude_from_forks(&self, range: Range<usize>) -> Result<(), Errno> {
        let advice = usize::try_from(libc::MADV_DONTFORK).unwrap_or_default();
        // SAFETY: the advice changes nothing in this process.
        unsafe { self.call(libc::SYS_madvise, [range.start, range.len(), advice, 0, 0]) }.map(drop)
    }

    /// Reads the secret. A child that does so must die.
    pub(super) fn read_secret(&self) {
        // SAFETY: a zygote has the page. Its child lacks the page, and the kernel ends the child.
        let _ = std::hint::black_box(unsafe { self.page.read_volatile() });
    }
}

/// Overwrites a filter that contained the secret.
pub(super) fn wipe(program: &mut [sock_filter]) {
    for instruction in program {
        // SAFETY: a reference is valid for a write. The write is volatile because nothing reads the result.
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
        assert_eq!(privilege.insert_secret(&mut program), 1);
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

//! A warm, single-threaded, isolated process that only forks.
//!
//! A zygote is the sandbox program, executed with an empty environment and one descriptor, its control socket. It sets
//! up the isolation layers, warms the engine, proves the filter and reports that it is ready. Then it serves orders:
//! fork a spare, report how a job process ended, reap it. It never touches a job's bytes.

use super::control::{next_order, receive_setup, send_message, send_privileged, send_report};
use super::guarded::{self, Trouble};
use super::job_process::{self, Inheritance, JobBody};
use super::layers::{self, LayerMissing, missing};
use super::privilege::{self, Privilege};
use super::stack::{self, JobStack};
use super::sys::{self, Forked};
use super::{filters, huge_pages, proof, rehearsal};
use crate::engine::{Placement, heap};
use nix::errno::Errno;
use nix::unistd::Pid;
use sandpiper_sandbox_protocol::{
    BUILD_ID, ChildReport, Descriptors, IsolationLevel, LayerReport, Order, Readiness, Setup,
    Sibling, Slot, Spare, ZYGOTE_ARGUMENT,
};
use std::ffi::CStr;
use std::ops::Range;
use std::os::fd::{BorrowedFd, RawFd};

/// The control socket comes as standard input.
pub(super) const CONTROL: RawFd = libc::STDIN_FILENO;

/// The name of zygotes and job processes in the lists and logs of the system, at most 15 bytes.
const PROCESS_NAME: &CStr = c"sandpiper-job";

const EXIT_ORDERLY: i32 = 0;
const EXIT_LAYER_MISSING: i32 = 78;
const EXIT_PANICKED: i32 = 70;

/// Becomes a zygote and does not return, if this process was started as one. Call it first in `main`.
pub fn enter_if_requested<B: JobBody>() {
    // The first argument follows the program's name.
    let mut arguments = std::env::args_os().skip(1);
    if arguments
        .next()
        .is_some_and(|first| first == ZYGOTE_ARGUMENT)
    {
        enter::<B>();
    }
}

fn enter<B: JobBody>() -> ! {
    // A panic prints nothing and opens nothing. It ends the process, and the executor starts another. A panic of a guarded
    // call ends its execution alone.
    std::panic::set_hook(Box::new(|_| {
        guarded::end(Trouble::Panicked);
        sys::exit_now(EXIT_PANICKED)
    }));
    sys::close_from(Descriptors::FIRST);
    // Job processes inherit the name. Without it the kernel names them by the number of the executed descriptor.
    let _ = nix::sys::prctl::set_name(PROCESS_NAME);
    // SAFETY: descriptor 0 is this process's control socket by construction. It stays open until the process ends, and
    // nothing else uses standard input.
    let control = unsafe { BorrowedFd::borrow_raw(CONTROL) };
    let Ok((setup, pipes)) = receive_setup(control) else {
        sys::exit_now(EXIT_ORDERLY)
    };
    if !pipes.into_iter().eq(Descriptors::FIRST..Descriptors::END) {
        // A descriptor is open that should not be.
        sys::exit_now(EXIT_LAYER_MISSING);
    }
    match set_up_layers::<B>(setup) {
        Ok(ready) => serve(ready),
        Err(Failure { missing, privilege }) => {
            let readiness = Readiness::Failed {
                layer: missing.layer.to_owned(),
                reason: missing.reason,
            };
            let _ = match privilege {
                Some(privilege) => send_privileged(&privilege, &readiness),
                None => send_message(control, &readiness),
            };
            sys::exit_now(EXIT_LAYER_MISSING)
        }
    }
}

/// A missing layer, and the privilege that is needed to report it once the filter is installed.
struct Failure {
    missing: LayerMissing,
    privilege: Option<Privilege>,
}

impl From<LayerMissing> for Failure {
    fn from(missing: LayerMissing) -> Self {
        Self {
            missing,
            privilege: None,
        }
    }
}

struct Ready<B: JobBody> {
    privilege: Privilege,
    zygote: Pid,
    stack: JobStack,
    inheritance: Inheritance<B>,
    readiness: Readiness,
}

/// Sets up the isolation layers in their order, and warms the engine before files are out of reach.
fn set_up_layers<B: JobBody>(setup: Setup) -> Result<Ready<B>, Failure> {
    let Setup {
        build,
        plan,
        placement,
    } = setup;
    check_build(&build)?;
    layers::assert_one_thread()?;
    layers::lower_priority();
    let unprivileged = layers::become_unprivileged()?;
    let namespaces = layers::enter_namespaces(plan.max_isolation);
    if namespaces.present {
        // The new pid namespace applies to children only, so its first process continues the set-up.
        continue_in_child()?;
    }
    let restricted = layers::restrict_process()?;
    // The handlers that Rust's runtime installed would only turn one death into another.
    sys::reset_signal(libc::SIGSEGV);
    sys::reset_signal(libc::SIGBUS);
    let (warm, learned) = warm_engine::<B>(placement)?;
    // The engine comes first. The memory that `move_to_huge_pages` allocates and frees would leave holes in the heap and
    // spread the engine's objects over more pages.
    huge_pages::move_to_huge_pages();
    let own_stack =
        stack::own().ok_or_else(|| missing("fork", "/proc/self/maps cannot be read"))?;
    let stack = JobStack::new().map_err(|errno| missing("fork", errno))?;
    guarded::install(&stack.range()).map_err(|errno| missing("fork", errno))?;
    let privilege = Privilege::new().map_err(|errno| missing("seccomp", errno))?;
    let forked_with_bytes = layers::address_space_bytes()?;
    let zygote = nix::unistd::getpid();
    let rlimits = layers::limit_resources()?;
    let memory = layers::refuse_executable_memory();
    let speculation = layers::restrict_speculation(plan.speculation);
    let landlock = layers::deny_files_and_network(plan.max_isolation);
    let (privilege, seccomp) = install_and_prove_filter(privilege, own_stack)?;
    let fork = LayerReport::present("fork", "a process of its own for every execution").required();
    Ok(Ready {
        privilege,
        zygote,
        stack,
        inheritance: Inheritance {
            warm,
            forked_with_bytes,
        },
        readiness: Readiness::Ready {
            level: level_reached(&landlock, &namespaces),
            layers: vec![
                fork,
                seccomp,
                unprivileged,
                restricted,
                rlimits,
                landlock,
                namespaces,
                memory,
                speculation,
            ],
            learned: learned.and_then(|learned| serde_json::to_string(&learned).ok()),
        },
    })
}

fn check_build(build: &str) -> Result<(), LayerMissing> {
    if build == BUILD_ID {
        return Ok(());
    }
    Err(missing(
        "build",
        format!(
            "this sandbox program is of build {BUILD_ID}, the service of build {build}; install both from one build"
        ),
    ))
}

/// Warms the engine on a heap with the layout `placement`. Without one, learns a layout and returns it.
///
/// The engine is warmed while files can still be opened: it reads the time zone once.
fn warm_engine<B: JobBody>(
    placement: Option<String>,
) -> Result<(B::Warm, Option<Placement>), LayerMissing> {
    let placement = placement.and_then(|text| serde_json::from_str(&text).ok());
    // SAFETY: a zygote has one thread, as was asserted before.
    unsafe { heap::begin() };
    let learned = match placement {
        Some(_) => None,
        None => rehearsal::learn::<B>(),
    };
    if let Some(placement) = placement.as_ref().or(learned.as_ref()) {
        heap::place(placement);
    }
    let warm = B::warm().map_err(|reason| missing("engine", reason))?;
    heap::end_placing();
    Ok((warm, learned))
}

/// Installs and proves the filter, then leaves the zygote's stack out of forks: the children of the proof use a copy of
/// it.
fn install_and_prove_filter(
    privilege: Privilege,
    own_stack: Range<usize>,
) -> Result<(Privilege, LayerReport), Failure> {
    let mut filter = filters::zygote(&privilege).map_err(|error| missing("seccomp", error))?;
    let installed = sys::install_filter(&filter);
    privilege::wipe(&mut filter);
    installed.map_err(|errno| missing("seccomp", format!("the filter is refused: {errno}")))?;
    let proved = proof::prove_filter(&privilege).and_then(|seccomp| {
        (privilege.exclude_from_forks(own_stack)).map_err(|errno| missing("fork", errno))?;
        Ok(seccomp)
    });
    match proved {
        Ok(seccomp) => Ok((privilege, seccomp)),
        Err(missing) => Err(Failure {
            missing,
            privilege: Some(privilege),
        }),
    }
}

fn level_reached(landlock: &LayerReport, namespaces: &LayerReport) -> IsolationLevel {
    match (landlock.present, namespaces.present) {
        (true, true) => IsolationLevel::L4,
        (true, false) => IsolationLevel::L3,
        (false, _) => IsolationLevel::L2,
    }
}

/// Forks. The child returns from this function. The parent waits for the child and ends with it.
fn continue_in_child() -> Result<(), LayerMissing> {
    let forked = sys::fork().map_err(|errno| missing("fork", errno))?;
    let Forked::Parent(zygote) = forked else {
        return Ok(());
    };
    // Only the zygote may hold the control socket and the pipes. Otherwise the executor would never see them close.
    sys::close_fd(CONTROL);
    for descriptor in Descriptors::FIRST..Descriptors::END {
        sys::close_fd(descriptor);
    }
    let _ = layers::restrict_process();
    if let Ok(filter) = filters::launcher() {
        let _ = sys::install_filter(&filter);
    }
    sys::wait_for(zygote);
    sys::exit_now(EXIT_ORDERLY)
}

/// Reports readiness, then forks job processes until the executor is gone.
fn serve<B: JobBody>(ready: Ready<B>) -> ! {
    let Ready {
        privilege,
        zygote,
        stack,
        inheritance,
        readiness,
    } = ready;
    if send_privileged(&privilege, &readiness).is_err() {
        sys::exit_now(EXIT_ORDERLY);
    }
    drop(readiness);
    // On the heap, because a child has no copy of this stack.
    let inheritance: *const Inheritance<B> = Box::into_raw(Box::new(inheritance));
    heap::close();
    let mut children = Children::default();
    loop {
        let Spare { slot, sibling } = next_spare(&privilege, &mut children);
        // The executor has killed the previous job process of this slot. A slot has at most one.
        children.reap(&privilege, slot);
        // SAFETY: a zygote has one thread. A child's copy of the stack is empty and used for nothing else.
        // `inheritance` is on the heap and has the type that `begin` of the same body expects.
        let forked = unsafe {
            privilege.fork(
                zygote,
                slot,
                stack.end(),
                job_process::begin::<B>,
                inheritance.cast(),
            )
        };
        let Ok(spare) = forked else {
            // The executor sees the pipes close at once and starts another zygote.
            sys::exit_now(EXIT_LAYER_MISSING)
        };
        children.0[slot as usize] = Some(spare);
        if sibling == Sibling::Killed {
            children.reap(&privilege, slot.other());
        }
    }
}

/// Serves orders until one asks for a spare. Ends this process when the executor is gone.
fn next_spare(privilege: &Privilege, children: &mut Children) -> Spare {
    loop {
        match next_order(privilege) {
            Some(Order::Spare(spare)) => return spare,
            Some(Order::Report(slot)) => {
                let Ok(ended) = children.wait_for(privilege, slot) else {
                    // A job process that still runs would be reported as dead.
                    sys::exit_now(EXIT_LAYER_MISSING)
                };
                let _ = send_report(privilege, &ended);
            }
            Some(Order::Reap(slot)) => children.reap(privilege, slot),
            None => {
                // The executor is gone and the pipes have closed as well, so every child ends. It is reaped here and
                // not left to process 1.
                for slot in Slot::BOTH {
                    children.reap(privilege, slot);
                }
                sys::exit_now(EXIT_ORDERLY)
            }
        }
    }
}

/// Children that the zygote has not reaped yet, by slot.
#[derive(Default)]
struct Children([Option<Pid>; 2]);

impl Children {
    /// Waits until the child of `slot` has ended, and returns how it ended. The child keeps its pid until it is reaped,
    /// so an executor that does not know yet cannot kill another process by that pid.
    fn wait_for(&self, privilege: &Privilege, slot: Slot) -> Result<ChildReport, Errno> {
        let child = self.0[slot as usize].ok_or(Errno::ECHILD)?;
        privilege.wait_for(child)
    }

    /// Waits until the child of `slot` has ended, if there is one, and reaps it.
    fn reap(&mut self, privilege: &Privilege, slot: Slot) {
        if let Some(child) = self.0[slot as usize].take() {
            let _ = privilege.reap(child);
        }
    }
}

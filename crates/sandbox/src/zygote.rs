//! A warm, single-threaded, walled-in process that only forks.
//!
//! The same binary executed again with an empty environment and one descriptor, its control socket. It raises the
//! walls, warms the engine, proves the filter, says how it stands, and then serves orders: fork a spare, tell how a job
//! process ended, reap it. It never touches a job's bytes.

use super::control::{next_order, receive_setup, send_message, tell, tell_end};
use super::job_process::{self, Inheritance, JobBody};
use super::privilege::{self, Privilege};
use super::stack::{self, JobStack};
use super::sys::{self, Forked};
use super::walls::{self, WallMissing, missing};
use super::{filters, proof, rehearsal, text};
use crate::engine::heap;
use nix::errno::Errno;
use nix::unistd::Pid;
use sandpiper_sandbox_protocol::{
    BUILD_ID, ChildReport, Descriptors, IsolationLevel, Order, Readiness, Setup, Sibling, Side,
    Spare, WallReport, ZYGOTE_ARGUMENT,
};
use std::os::fd::{BorrowedFd, RawFd};

/// The control socket comes as standard input.
pub(super) const CONTROL: RawFd = libc::STDIN_FILENO;

const EXIT_ORDERLY: i32 = 0;
const EXIT_WALL_MISSING: i32 = 78;
const EXIT_PANICKED: i32 = 70;

/// Becomes a zygote and does not return, if this process was started as one. Call it first in `main`.
pub fn enter_if_asked<B: JobBody>() {
    // Behind the program's own name.
    let mut arguments = std::env::args_os().skip(1);
    if arguments
        .next()
        .is_some_and(|first| first == ZYGOTE_ARGUMENT)
    {
        enter::<B>();
    }
}

fn enter<B: JobBody>() -> ! {
    // A panic prints nothing and opens nothing: it ends the process, and the executor starts another.
    std::panic::set_hook(Box::new(|_| sys::exit_now(EXIT_PANICKED)));
    sys::close_from(Descriptors::FIRST);
    // SAFETY: descriptor 0 is this process's control socket by construction, open until it ends, and nothing else uses
    // standard input.
    let control = unsafe { BorrowedFd::borrow_raw(CONTROL) };
    let Ok((setup, lines)) = receive_setup(control) else {
        sys::exit_now(EXIT_ORDERLY)
    };
    if !lines.into_iter().eq(Descriptors::FIRST..Descriptors::END) {
        // Another descriptor is open that should not be.
        sys::exit_now(EXIT_WALL_MISSING);
    }
    match raise_walls::<B>(setup) {
        Ok(ready) => serve(ready),
        Err(Failure { wall, privilege }) => {
            let readiness = Readiness::Failed {
                wall: wall.wall.to_owned(),
                reason: wall.reason,
            };
            let _ = match privilege {
                Some(privilege) => tell(&privilege, &readiness),
                None => send_message(control, &readiness),
            };
            sys::exit_now(EXIT_WALL_MISSING)
        }
    }
}

/// A wall that is missing, and what lets this be said once the filter stands.
struct Failure {
    wall: WallMissing,
    privilege: Option<Privilege>,
}

impl From<WallMissing> for Failure {
    fn from(wall: WallMissing) -> Self {
        Self {
            wall,
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

fn raise_walls<B: JobBody>(setup: Setup) -> Result<Ready<B>, Failure> {
    let Setup {
        build,
        plan,
        placement,
    } = setup;
    if build != BUILD_ID {
        return Err(missing(
            "build",
            format!("this sandbox program is of build {BUILD_ID}, the service of build {build}; install both from one build"),
        )
        .into());
    }
    let placement = placement.and_then(|text| serde_json::from_str(&text).ok());
    walls::assert_one_thread()?;
    walls::step_behind();
    let unprivileged = walls::become_unprivileged()?;
    let namespaces = walls::enter_namespaces(plan.max_isolation);
    if namespaces.present {
        // The new pid namespace is for children: go on as its first process.
        continue_in_child()?;
    }
    let tied_down = walls::tie_down()?;
    // Handlers that Rust's runtime installed would only turn one death into another.
    sys::reset_signal(libc::SIGSEGV);
    sys::reset_signal(libc::SIGBUS);
    // The engine is warmed before files are out of reach: it looks once at the time zone.
    // SAFETY: a zygote has one thread, as was asserted above.
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
    // After it: what this allocates and frees would leave holes in the heap, and the engine's objects on more pages.
    text::move_to_huge_pages();
    let own_stack =
        stack::own().ok_or_else(|| missing("fork", "/proc/self/maps cannot be read"))?;
    let stack = JobStack::new().map_err(|errno| missing("fork", errno))?;
    let privilege = Privilege::new().map_err(|errno| missing("seccomp", errno))?;
    let born_with_bytes = walls::address_space_bytes()?;
    let zygote = nix::unistd::getpid();
    let rlimits = walls::limit_resources()?;
    let memory = walls::refuse_executable_memory();
    let speculation = walls::restrict_speculation(plan.speculation);
    let landlock = walls::deny_files_and_network(plan.max_isolation);

    let mut filter = filters::zygote(&privilege).map_err(|error| missing("seccomp", error))?;
    let installed = sys::install_filter(&filter);
    privilege::wipe(&mut filter);
    installed.map_err(|errno| missing("seccomp", format!("the filter is refused: {errno}")))?;
    let proved = proof::of_the_filter(&privilege).and_then(|seccomp| {
        // Not before: children of the proof go on with a copy of this stack.
        (privilege.keep_from_children(own_stack)).map_err(|errno| missing("fork", errno))?;
        Ok(seccomp)
    });
    let seccomp = match proved {
        Ok(seccomp) => seccomp,
        Err(wall) => {
            let privilege = Some(privilege);
            return Err(Failure { wall, privilege });
        }
    };
    let fork = WallReport::present("fork", "a process of its own for every execution").required();

    let level = match (landlock.present, namespaces.present) {
        (true, true) => IsolationLevel::L4,
        (true, false) => IsolationLevel::L3,
        (false, _) => IsolationLevel::L2,
    };
    let walls = vec![
        fork,
        seccomp,
        unprivileged,
        tied_down,
        rlimits,
        landlock,
        namespaces,
        memory,
        speculation,
    ];
    Ok(Ready {
        privilege,
        zygote,
        stack,
        inheritance: Inheritance {
            warm,
            born_with_bytes,
        },
        readiness: Readiness::Ready {
            level,
            walls,
            learned: learned.and_then(|learned| serde_json::to_string(&learned).ok()),
        },
    })
}

/// Forks; the child returns from here, the parent waits for it and ends with it.
fn continue_in_child() -> Result<(), WallMissing> {
    let forked = sys::fork().map_err(|errno| missing("fork", errno))?;
    let Forked::Parent(zygote) = forked else {
        return Ok(());
    };
    // Only the zygote may hold the control socket and the lines, or the executor would never see them close.
    sys::close_fd(CONTROL);
    for descriptor in Descriptors::FIRST..Descriptors::END {
        sys::close_fd(descriptor);
    }
    let _ = walls::tie_down();
    if let Ok(filter) = filters::launcher() {
        let _ = sys::install_filter(&filter);
    }
    sys::wait_for(zygote);
    sys::exit_now(EXIT_ORDERLY)
}

fn serve<B: JobBody>(ready: Ready<B>) -> ! {
    let Ready {
        privilege,
        zygote,
        stack,
        inheritance,
        readiness,
    } = ready;
    if tell(&privilege, &readiness).is_err() {
        sys::exit_now(EXIT_ORDERLY);
    }
    drop(readiness);
    // On the heap: a child has nothing of this stack.
    let inheritance: *const Inheritance<B> = Box::into_raw(Box::new(inheritance));
    heap::close();
    let mut children = Children::default();
    loop {
        let Spare { side, sibling } = match next_order(&privilege) {
            Some(Order::Spare(spare)) => spare,
            Some(Order::Report(side)) => {
                let Ok(ended) = children.wait_for(&privilege, side) else {
                    // Whoever lives would be taken for dead.
                    sys::exit_now(EXIT_WALL_MISSING)
                };
                let _ = tell_end(&privilege, &ended);
                continue;
            }
            Some(Order::Reap(side)) => {
                children.reap(&privilege, side);
                continue;
            }
            None => {
                // The lines have closed as well, or it has been killed: it ends, and is not left to process 1.
                for side in Side::BOTH {
                    children.reap(&privilege, side);
                }
                sys::exit_now(EXIT_ORDERLY)
            }
        };
        // It has been by now; no line may have two.
        children.reap(&privilege, side);
        // SAFETY: a zygote has one thread. The stack is for this, and a child's copy of it is empty; `inheritance` is on
        // the heap, and what `begin` of the same body wants.
        let forked = unsafe {
            privilege.fork(
                zygote,
                side,
                stack.end(),
                job_process::begin::<B>,
                inheritance.cast(),
            )
        };
        let Ok(spare) = forked else {
            // The executor sees the lines close at once, and starts another zygote.
            sys::exit_now(EXIT_WALL_MISSING)
        };
        children.0[side as usize] = Some(spare);
        if sibling == Sibling::Killed {
            children.reap(&privilege, side.other());
        }
    }
}

/// A zygote's children that it has not let go of, by the line they serve.
#[derive(Default)]
struct Children([Option<Pid>; 2]);

impl Children {
    /// How the child of `side` ended; waits until it has. It keeps its pid until it is reaped, so that an executor that has not
    /// heard of its end cannot kill another by it.
    fn wait_for(&self, privilege: &Privilege, side: Side) -> Result<ChildReport, Errno> {
        let child = self.0[side as usize].ok_or(Errno::ECHILD)?;
        privilege.wait_for(child)
    }

    /// Waits until the child of `side` has ended, if there is one, and lets go of it.
    fn reap(&mut self, privilege: &Privilege, side: Side) {
        if let Some(child) = self.0[side as usize].take() {
            let _ = privilege.reap(child);
        }
    }
}

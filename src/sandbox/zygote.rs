//! A warm, single-threaded, walled-in process that only forks.
//!
//! The same binary executed again with an empty environment and one descriptor, its control socket. It raises the
//! walls, warms the engine, proves both filters, says how it stands, and then serves orders: fork a spare, reap the one
//! before it. It never touches a job's bytes.

use super::control::{Order, Orders, Readiness, ZygotePlan, receive_message, send_message};
use super::job_process::{self, JobBody};
use super::level::{IsolationLevel, WallReport};
use super::sys::{self, Forked, Reaped};
use super::walls::{self, WallMissing, missing};
use super::{filters, proof, text};
use nix::unistd::Pid;
use seccompiler::BpfProgram;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

/// The first argument that makes this binary a zygote.
pub const ZYGOTE_ARGUMENT: &str = "zygote";

/// The control socket comes as standard input.
pub(super) const CONTROL: RawFd = libc::STDIN_FILENO;
/// Every channel comes as the first two descriptors after the standard three: one to read a job from, one to write frames
/// to.
pub(super) const JOB: RawFd = libc::STDERR_FILENO + 1;
pub(super) const FRAMES: RawFd = JOB + 1;

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
    sys::close_from(JOB);
    // SAFETY: descriptor 0 is this process's control socket by construction, and nothing else uses standard input.
    let control = unsafe { OwnedFd::from_raw_fd(CONTROL) };
    let orders = Orders::new(control);
    let Ok(plan) = receive_message::<ZygotePlan>(orders.socket()) else {
        sys::exit_now(EXIT_ORDERLY)
    };
    match raise_walls::<B>(&plan) {
        Ok(ready) => {
            let readiness = Readiness::Ready {
                level: ready.level,
                walls: ready.walls.clone(),
            };
            if send_message(orders.socket(), &readiness).is_err() {
                sys::exit_now(EXIT_ORDERLY);
            }
            sys::use_up_free_memory();
            serve(ready, &orders)
        }
        Err(WallMissing { wall, reason }) => {
            let readiness = Readiness::Failed {
                wall: wall.to_owned(),
                reason,
            };
            let _ = send_message(orders.socket(), &readiness);
            sys::exit_now(EXIT_WALL_MISSING)
        }
    }
}

struct Ready<B: JobBody> {
    warm: B::Warm,
    job_filter: BpfProgram,
    address_space_bytes: u64,
    level: IsolationLevel,
    walls: Vec<WallReport>,
}

fn raise_walls<B: JobBody>(plan: &ZygotePlan) -> Result<Ready<B>, WallMissing> {
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
    let warm = B::warm().map_err(|reason| missing("engine", reason))?;
    // After it: what this allocates and frees would leave holes in the heap, and the engine's objects on more pages.
    text::move_to_huge_pages();
    let address_space_bytes = walls::address_space_bytes()?;
    let rlimits = walls::limit_resources()?;
    let memory = walls::refuse_executable_memory();
    let landlock = walls::deny_files_and_network(plan.max_isolation);

    let zygote_filter = filters::zygote(JOB, FRAMES).map_err(|error| missing("seccomp", error))?;
    let job_filter = filters::job_process().map_err(|error| missing("seccomp", error))?;
    sys::install_filter(&zygote_filter)
        .map_err(|errno| missing("seccomp", format!("the filter is refused: {errno}")))?;
    let seccomp = proof::of_both_filters(&job_filter)?;
    let fork = WallReport::present("fork", "a process of its own for every execution").required();

    let level = match (landlock.present, namespaces.present) {
        (true, true) => IsolationLevel::L4,
        (true, false) => IsolationLevel::L3,
        (false, _) => IsolationLevel::L2,
    };
    Ok(Ready {
        warm,
        job_filter,
        address_space_bytes,
        level,
        walls: vec![
            fork,
            seccomp,
            unprivileged,
            tied_down,
            rlimits,
            landlock,
            namespaces,
            memory,
        ],
    })
}

/// Forks; the child returns from here, the parent waits for it and ends with it.
fn continue_in_child() -> Result<(), WallMissing> {
    let forked = sys::fork().map_err(|errno| missing("fork", errno))?;
    let Forked::Parent(zygote) = forked else {
        return Ok(());
    };
    // Only the zygote may hold the control socket, or the executor would never see it close.
    sys::close_fd(CONTROL);
    let _ = walls::tie_down();
    if let Ok(filter) = filters::launcher() {
        let _ = sys::install_filter(&filter);
    }
    let _ = sys::reap(zygote);
    sys::exit_now(EXIT_ORDERLY)
}

fn serve<B: JobBody>(ready: Ready<B>, orders: &Orders) -> ! {
    let zygote = nix::unistd::getpid();
    let mut running: Option<Pid> = None;
    let mut last = Reaped::default();
    loop {
        let ends = match orders.next() {
            Order::Spare(ends) => ends,
            Order::Report => {
                let _ = orders.report(last);
                continue;
            }
            Order::Closed => {
                // Its channel has closed as well, or it has been killed: it ends, and is not left to process 1.
                if let Some(spare) = running {
                    let _ = sys::reap(spare);
                }
                sys::exit_now(EXIT_ORDERLY)
            }
        };
        if ends.job.as_raw_fd() != JOB || ends.frames.as_raw_fd() != FRAMES {
            // Another descriptor is open that should not be.
            sys::exit_now(EXIT_WALL_MISSING);
        }
        let spare = match sys::fork() {
            Ok(Forked::Child) => job_process::begin::<B>(
                ready.warm,
                zygote,
                &ready.job_filter,
                ready.address_space_bytes,
            ),
            Ok(Forked::Parent(spare)) => spare,
            // Without the channel the executor sees it close at once, and starts another zygote.
            Err(_) => sys::exit_now(EXIT_WALL_MISSING),
        };
        // Not by dropping them: a debug build would first ask whether they are open, and die of asking.
        sys::close_fd(ends.job.into_raw_fd());
        sys::close_fd(ends.frames.into_raw_fd());
        // The spare before this one has its job by now: an executor orders the next spare only then. It is killed when
        // that job is over.
        if let Some(before) = running.replace(spare) {
            last = sys::reap(before).unwrap_or_default();
        }
    }
}

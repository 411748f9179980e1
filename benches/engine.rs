//! The engine without the service: `engine-alone SECONDS THREADS CODE` evaluates CODE in THREADS threads, each time in
//! a fresh context, and prints the evaluations per second. No server, no process, no limit.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)] // its own program

use rquickjs::{Context, Runtime, Value};
use std::thread;
use std::time::{Duration, Instant};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("SECONDS THREADS CODE");
    let seconds: f64 = next().parse().unwrap();
    let threads: usize = next().parse().unwrap();
    let code = next();
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(seconds);
    let done: u64 = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| until(end, &code)))
            .collect();
        running.into_iter().map(|one| one.join().unwrap()).sum()
    });
    println!("{:.1}", done as f64 / begun.elapsed().as_secs_f64());
}

fn until(end: Instant, code: &str) -> u64 {
    let mut done = 0;
    while Instant::now() < end {
        let runtime = Runtime::new().unwrap();
        let context = Context::full(&runtime).unwrap();
        context.with(|ctx| drop(ctx.eval::<Value<'_>, _>(code).unwrap()));
        done += 1;
    }
    done
}

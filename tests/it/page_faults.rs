//! The page faults of an execution. Most are copies of pages that its process inherits and writes to, and they are much of
//! what a short script costs. Their number does not depend on how busy the machine is.

use crate::support::{Service, stat_of};

/// Page faults of reaped children, in `/proc/PID/stat`, counted from the state.
const FAULTS_OF_CHILDREN: usize = 8;
const RUNS: u64 = 64;

/// Returns the page faults of each execution of `code`, on average.
fn faults_of(service: &Service, code: &str) -> u64 {
    // The zygotes reap job processes.
    let reaped = || -> u64 {
        let faults = |pid: u32| stat_of(pid, FAULTS_OF_CHILDREN)?.parse::<u64>().ok();
        service.descendants().into_iter().filter_map(faults).sum()
    };
    let before = reaped();
    for _ in 0..RUNS {
        assert_eq!(service.run(code)["outcome"], "succeeded");
    }
    (reaped() - before).div_ceil(RUNS)
}

#[test]
fn what_scripts_write_to_lies_on_few_pages() {
    let service = Service::start_with(&["--executors", "1"]);
    for (code, most) in [
        ("1 + 2", 11),
        ("const item = { id: 1, list: ['a', 'b'] }; item.list.length", 18),
        (
            "const u = new URL('https://a.b/c?d=1'); const t = new TextEncoder().encode(u.href);
            const id = crypto.randomUUID();
            structuredClone({ a: t.length, b: id.length, c: [1, 2, { d: u.searchParams.get('d') }] })",
            26,
        ),
    ] {
        let faults = faults_of(&service, code);
        assert!(faults <= most, "{faults} page faults: {code}");
        assert!(faults > 3, "page faults are not counted");
    }
}

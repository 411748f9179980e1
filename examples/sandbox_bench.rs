use sandpiper::domain::*;
use sandpiper::sandbox::*;
use std::time::*;
fn main() {
    enter_if_asked::<EngineBody>();
    let max: IsolationLevel = std::env::args().nth(1).unwrap().parse().unwrap();
    let n: u32 = std::env::args().nth(2).unwrap().parse().unwrap();
    let code = std::env::args().nth(3).unwrap_or("1+2".into());
    let ceiling = Ceiling {
        timeout_ms: 30000,
        memory_bytes: 256 << 20,
        output_bytes: 8 << 20,
    };
    let limits = Limits::defaults(2000, 32 << 20, 1 << 20, &ceiling).unwrap();
    let script = Script::new(ScriptDraft {
        code: Some(code),
        ..Default::default()
    })
    .unwrap();
    let t = Instant::now();
    let mut s = Sandbox::start(SandboxOptions {
        plan: ZygotePlan { max_isolation: max },
        min_isolation: IsolationLevel::L2,
        kill_grace: Duration::from_millis(250),
        executions_per_zygote: 1_000_000,
    })
    .unwrap();
    println!("start {:?}", t.elapsed());
    println!("{:#?}", s.isolation());
    let c = CancelToken::default();
    let mut v = vec![];
    let all = Instant::now();
    let mut last = None;
    for i in 0..n {
        let t = Instant::now();
        let e = s
            .run(
                JobId::generate(),
                &Work::Script {
                    script: &script,
                    limits,
                    entropy: u64::from(i),
                },
                &c,
            )
            .unwrap();
        v.push(t.elapsed());
        s.maintain().unwrap();
        last = Some(e);
    }
    let el = all.elapsed();
    v.sort();
    println!("{:?}", last);
    println!(
        "p50 {:?} p99 {:?} max {:?}, {:.0}/s {:?}",
        v[v.len() / 2],
        v[v.len() * 99 / 100],
        v[v.len() - 1],
        n as f64 / el.as_secs_f64(),
        s.counters()
    );
}

//! The events of jobs with tools: each once, with the same id at any time.

use super::jobs::ToolJob;
use super::request;
use crate::events::{Event, follow};
use crate::stores::{Store, over_every_store};
use serde_json::json;

over_every_store!(a_follower_is_told_calls_and_answers_and_goes_on_behind_any_event);

const CODE: &str = "console.log('a'); const first = await tools.a(1); console.log(first); \
    try { await tools.b(2) } catch (e) { console.log(e.message) } 'end'";

fn told(events: &[Event]) -> Vec<(String, String)> {
    let with_id = events
        .iter()
        .filter_map(|event| Some((event.name.clone(), event.id.clone()?)));
    with_id.collect()
}

fn a_follower_is_told_calls_and_answers_and_goes_on_behind_any_event(store: &Store) {
    let service = store.serve(&[]);
    let mut job = ToolJob::begin(&service, &request(CODE, &["a", "b"]));
    let live = follow(&service, &job.id, None);
    let answers = json!([{ "callId": job.call_id(0), "result": "one" }]);
    job.go_on(&answers);
    let answers = json!([{ "callId": job.call_id(0), "error": { "message": "two" } }]);
    job.go_on(&answers);
    let live = live.rest();
    assert_eq!(live.last().unwrap().name, "end");
    let names: Vec<String> = told(&live).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        ["log", "call", "answer", "log", "call", "answer", "log"],
        "{live:?}"
    );
    let answer = live.iter().find(|event| event.name == "answer").unwrap();
    assert_eq!(answer.data["result"], "one");
    assert_eq!(
        answer.data["callId"],
        job.now["execution"]["calls"][0]["callId"]
    );
    let late = follow(&service, &job.id, None).rest();
    assert_eq!(told(&late), told(&live));
    let ids = told(&late);
    for (index, (_, id)) in ids.iter().enumerate() {
        let rest = follow(&service, &job.id, Some(id)).rest();
        assert_eq!(told(&rest), ids[index + 1..], "behind {id}");
    }
}

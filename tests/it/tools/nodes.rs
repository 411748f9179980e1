//! Any node that has the key continues an execution: after a restart, and beside others.

use super::{Conversation, request};
use crate::stores::{Postgres, Store, over_every_store};
use crate::support::{SOON, Service, assert_refused, eventually};
use serde_json::{Value, json};
use std::thread;

over_every_store!(an_execution_goes_on_after_a_restart_where_the_store_is_a_database);

fn answered(talk: &Conversation<'_>) -> Value {
    let answers = json!([{ "callId": talk.calls()[0]["callId"], "result": 20 }]);
    talk.next_request(&answers)
}

fn an_execution_goes_on_after_a_restart_where_the_store_is_a_database(store: &Store) {
    let mut service = store.serve(&[]);
    let next = answered(&Conversation::begin(
        &service,
        request("await tools.a(1) + 1", &["a"]),
    ));
    service.signal(9);
    service.exit_within(SOON);
    let service = store.serve(&[]);
    let answer = service.post("/api/execute", &next);
    match store {
        Store::Memory => assert_refused(&answer, 422, "invalid_replay", "a new key"),
        Store::Sqlite(_) | Store::Postgres(_) => {
            assert_eq!(answer.json()["result"], 21, "{}", answer.text);
        }
    }
}

#[test]
fn nodes_of_one_database_that_start_together_share_the_key() {
    let store = Store::Postgres(Postgres::shared_database());
    let nodes: Vec<Service> = thread::scope(|scope| {
        let starts: Vec<_> = (0..2).map(|_| scope.spawn(|| store.serve(&[]))).collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .collect()
    });
    let talk = Conversation::begin(&nodes[0], request("await tools.a(1) + 1", &["a"]));
    let next = answered(&talk);
    for node in &nodes {
        assert_eq!(node.execute(&next)["result"], 21);
    }
}

#[test]
fn a_client_that_hangs_up_stops_its_round() {
    let service = Service::start_with(&["--executors", "1"]);
    let code = "await tools.a(1); for (;;);";
    let next = answered(&Conversation::begin(&service, request(code, &["a"])));
    let body = next.to_string();
    let request = format!(
        "POST /api/execute HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = std::net::TcpStream::connect(("127.0.0.1", service.port)).unwrap();
    std::io::Write::write_all(&mut connection, request.as_bytes()).unwrap();
    eventually(SOON, "the round runs", || service.executors_busy() == 1);
    drop(connection);
    eventually(SOON, "the round is stopped", || {
        service.executors_busy() == 0
    });
    assert_eq!(service.result("1 + 2"), 3);
}

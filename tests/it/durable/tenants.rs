//! The owners of jobs that an earlier version has stored, or goes on to store beside this one.

use super::{Database, over_each};
use crate::stores::Postgres;
use crate::support::{SOON, Service};
use serde_json::json;

const KEY: &str = "key:00000000000000aa";

fn serve(database: &Database) -> Service {
    database.serve(&["--client-header", "sandpiper-client"])
}

/// Submits a job as an ingress of the previous version does, and returns its id.
fn submit_as(service: &Service, client: &str) -> String {
    let headers = [("sandpiper-client", client), ("prefer", "wait=30")];
    let answer = service.post_with("/api/jobs", &headers, &json!({ "code": "'kept'" }));
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn status_for(service: &Service, id: &str, tenant: &str) -> u16 {
    let headers = [("sandpiper-tenant", tenant)];
    service
        .get_with(&format!("/api/jobs/{id}"), &headers)
        .status
}

#[test]
fn jobs_from_before_the_upgrade_belong_to_their_key_or_to_nobody() {
    over_each(|database| {
        let mut service = serve(database);
        let of_key = submit_as(&service, KEY);
        let of_address = submit_as(&service, "10.0.0.1");
        service.signal(15);
        service.exit_within(SOON);
        // The tables as the previous version left them.
        if matches!(database, Database::Postgres(_)) {
            database.change("DROP FUNCTION sandpiper_jobs_tenant CASCADE");
        }
        database.change(
            "DROP INDEX sandpiper_jobs_tenant; \
             DROP INDEX sandpiper_jobs_tenant_state; \
             ALTER TABLE sandpiper_jobs DROP COLUMN tenant; \
             ALTER TABLE sandpiper_jobs DROP COLUMN api_key; \
             DELETE FROM sandpiper_migrations WHERE version >= 5",
        );
        let service = serve(database);
        for (id, owner) in [(&of_key, KEY), (&of_address, "default")] {
            for tenant in [KEY, "default", "acme"] {
                let expected = if tenant == owner { 200 } else { 404 };
                assert_eq!(
                    status_for(&service, id, tenant),
                    expected,
                    "{owner} {tenant}"
                );
            }
        }
        let own = service.get_with("/api/jobs", &[("sandpiper-tenant", KEY)]);
        let own = own.json()["jobs"].as_array().unwrap().clone();
        assert_eq!((own.len(), &own[0]["id"]), (1, &json!(of_key)));
    });
}

#[test]
fn what_a_node_of_the_previous_version_inserts_has_an_owner_too() {
    let postgres = Postgres::start();
    let database = Database::Postgres(postgres);
    let service = serve(&database);
    for (number, client) in [(1, KEY), (2, "tenant:acme"), (3, "10.0.0.1")] {
        let id = id_of(number);
        database.change(&format!(
            "INSERT INTO sandpiper_jobs (id, river_id, client, request, state, attempt, created_at, run_at) \
             VALUES ('{id}', -{number}, '{client}', '', 'cancelled', 0, 0, NULL)"
        ));
    }
    for (number, owner) in [(1, KEY), (2, "acme"), (3, "default")] {
        for tenant in [KEY, "acme", "default"] {
            let expected = if tenant == owner { 200 } else { 404 };
            assert_eq!(
                status_for(&service, &id_of(number), tenant),
                expected,
                "{number} {tenant}"
            );
        }
    }
    // The key of the job is known as well.
    let narrow = [
        ("sandpiper-tenant", KEY),
        ("sandpiper-key", "00000000000000aa"),
        ("sandpiper-scopes", "execute"),
    ];
    let answer = service.get_with(&format!("/api/jobs/{}", id_of(1)), &narrow);
    assert_eq!(answer.status, 200, "{}", answer.text);
}

fn id_of(number: u32) -> String {
    format!("01890000-0000-7000-8000-00000000000{number}")
}

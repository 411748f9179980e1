CREATE TABLE sandpiper_jobs (
    id TEXT PRIMARY KEY,
    river_id BIGINT NOT NULL UNIQUE,
    client TEXT NOT NULL,
    request TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    run_at BIGINT,
    started_at BIGINT,
    finished_at BIGINT,
    expires_at BIGINT,
    outcome TEXT,
    execution TEXT
);

CREATE INDEX sandpiper_jobs_state ON sandpiper_jobs (state, id);

CREATE INDEX sandpiper_jobs_expiry ON sandpiper_jobs (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE sandpiper_keys (
    client TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    job_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (client, idempotency_key)
);

CREATE INDEX sandpiper_keys_age ON sandpiper_keys (created_at);

CREATE TABLE sandpiper_nodes (
    id TEXT PRIMARY KEY,
    started_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    executors BIGINT NOT NULL
)

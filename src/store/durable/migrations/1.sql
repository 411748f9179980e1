CREATE TABLE sandpiper_jobs (
    id TEXT PRIMARY KEY,
    river_id BIGINT NOT NULL UNIQUE,
    client TEXT NOT NULL,
    request TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    expires_at BIGINT,
    outcome TEXT,
    execution TEXT
);

CREATE INDEX sandpiper_jobs_state ON sandpiper_jobs (state, id);

CREATE INDEX sandpiper_jobs_expiry ON sandpiper_jobs (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE sandpiper_nodes (
    id TEXT PRIMARY KEY,
    started_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    executors BIGINT NOT NULL
)

CREATE TABLE sandpiper_logs (
    job_id TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    first_number BIGINT NOT NULL,
    next_number BIGINT NOT NULL,
    entries TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (job_id, attempt, first_number)
);

CREATE INDEX sandpiper_logs_age ON sandpiper_logs (created_at);

CREATE INDEX sandpiper_jobs_client ON sandpiper_jobs (client) WHERE state = 'open'

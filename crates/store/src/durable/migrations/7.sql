ALTER TABLE sandpiper_jobs ADD COLUMN reserved_ms BIGINT;

CREATE INDEX sandpiper_jobs_reserved ON sandpiper_jobs (tenant, api_key, reserved_ms) WHERE state = 'open' AND reserved_ms IS NOT NULL

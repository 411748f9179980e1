CREATE TABLE sandpiper_secrets (
    name TEXT PRIMARY KEY,
    secret TEXT NOT NULL
);

ALTER TABLE sandpiper_usage ADD COLUMN diverged BIGINT NOT NULL DEFAULT 0;

ALTER TABLE sandpiper_usage ADD COLUMN calls BIGINT NOT NULL DEFAULT 0;

ALTER TABLE sandpiper_usage_added ADD COLUMN diverged BIGINT NOT NULL DEFAULT 0;

ALTER TABLE sandpiper_usage_added ADD COLUMN calls BIGINT NOT NULL DEFAULT 0

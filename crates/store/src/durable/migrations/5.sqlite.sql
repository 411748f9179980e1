ALTER TABLE sandpiper_jobs ADD COLUMN tenant TEXT NOT NULL DEFAULT 'default';

ALTER TABLE sandpiper_jobs ADD COLUMN api_key TEXT;

UPDATE sandpiper_jobs SET tenant = client, api_key = substr(client, 5) WHERE client GLOB 'key:*';

CREATE INDEX sandpiper_jobs_tenant ON sandpiper_jobs (tenant, id);

CREATE INDEX sandpiper_jobs_tenant_state ON sandpiper_jobs (tenant, state, id);

CREATE TABLE sandpiper_tenants (
    tenant TEXT PRIMARY KEY,
    purged_at BIGINT NOT NULL
);

CREATE TABLE sandpiper_data_keys (
    id TEXT PRIMARY KEY,
    canary TEXT NOT NULL
)

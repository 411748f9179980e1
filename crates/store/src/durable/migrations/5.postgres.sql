ALTER TABLE sandpiper_jobs ADD COLUMN tenant TEXT NOT NULL DEFAULT 'default';

ALTER TABLE sandpiper_jobs ADD COLUMN api_key TEXT;

ALTER TABLE sandpiper_jobs DISABLE TRIGGER sandpiper_jobs_changed;

UPDATE sandpiper_jobs SET tenant = client, api_key = substr(client, 5) WHERE client LIKE 'key:%';

ALTER TABLE sandpiper_jobs ENABLE TRIGGER sandpiper_jobs_changed;

CREATE INDEX sandpiper_jobs_tenant ON sandpiper_jobs (tenant, id);

CREATE INDEX sandpiper_jobs_tenant_state ON sandpiper_jobs (tenant, state, id);

CREATE FUNCTION sandpiper_jobs_tenant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.client LIKE 'key:%' THEN
        NEW.tenant := NEW.client;
        NEW.api_key := substr(NEW.client, 5);
    ELSE
        NEW.tenant := substr(NEW.client, 8);
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER sandpiper_jobs_tenant BEFORE INSERT ON sandpiper_jobs FOR EACH ROW
    WHEN (NEW.tenant = 'default' AND (NEW.client LIKE 'key:%' OR NEW.client LIKE 'tenant:%'))
    EXECUTE FUNCTION sandpiper_jobs_tenant();

CREATE TABLE sandpiper_tenants (
    tenant TEXT PRIMARY KEY,
    purged_at BIGINT NOT NULL
);

CREATE TABLE sandpiper_data_keys (
    id TEXT PRIMARY KEY,
    canary TEXT NOT NULL
)

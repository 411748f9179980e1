CREATE TABLE sandpiper_tool_jobs (
    job_id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    client TEXT NOT NULL,
    rounds BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    arrivals BIGINT NOT NULL,
    suspended BIGINT NOT NULL,
    needs_reader BIGINT NOT NULL,
    is_final BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    head TEXT NOT NULL
);

CREATE INDEX sandpiper_tool_jobs_client ON sandpiper_tool_jobs (client, suspended, bytes) WHERE suspended = 1;

CREATE INDEX sandpiper_tool_jobs_id ON sandpiper_tool_jobs (job_id) WHERE suspended = 1;

CREATE INDEX sandpiper_tool_jobs_tenant ON sandpiper_tool_jobs (tenant, job_id) WHERE suspended = 1;

CREATE TABLE sandpiper_rounds (
    job_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    part TEXT NOT NULL,
    PRIMARY KEY (job_id, number)
);

CREATE TABLE sandpiper_calls (
    job_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    call_id TEXT NOT NULL,
    answer_until BIGINT,
    digest TEXT,
    arrival BIGINT,
    arrived_at BIGINT,
    answer TEXT,
    answer_bytes BIGINT,
    PRIMARY KEY (job_id, seq)
);

CREATE UNIQUE INDEX sandpiper_calls_id ON sandpiper_calls (job_id, call_id);

CREATE FUNCTION sandpiper_tools_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM sandpiper_tool_jobs WHERE job_id = OLD.id;
    RETURN NULL;
END $$;

CREATE TRIGGER sandpiper_tools_expired AFTER UPDATE OF state ON sandpiper_jobs FOR EACH ROW
    WHEN (NEW.state = 'expired') EXECUTE FUNCTION sandpiper_tools_gone();

CREATE TRIGGER sandpiper_tools_deleted AFTER DELETE ON sandpiper_jobs FOR EACH ROW
    EXECUTE FUNCTION sandpiper_tools_gone();

CREATE FUNCTION sandpiper_tool_bytes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO sandpiper_bytes (client, bytes, expiring) VALUES (OLD.client, -OLD.bytes, -OLD.bytes * OLD.is_final);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO sandpiper_bytes (client, bytes, expiring) VALUES (NEW.client, NEW.bytes, NEW.bytes * NEW.is_final);
    ELSE
        DELETE FROM sandpiper_rounds WHERE job_id = OLD.job_id;
        DELETE FROM sandpiper_calls WHERE job_id = OLD.job_id;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER sandpiper_tool_bytes AFTER INSERT OR UPDATE OF client, bytes, is_final OR DELETE ON sandpiper_tool_jobs
    FOR EACH ROW EXECUTE FUNCTION sandpiper_tool_bytes()

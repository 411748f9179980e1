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

CREATE TRIGGER sandpiper_tools_expired AFTER UPDATE OF state ON sandpiper_jobs WHEN NEW.state = 'expired' BEGIN
    DELETE FROM sandpiper_tool_jobs WHERE job_id = NEW.id;
END;

CREATE TRIGGER sandpiper_tools_deleted AFTER DELETE ON sandpiper_jobs BEGIN
    DELETE FROM sandpiper_tool_jobs WHERE job_id = OLD.id;
END;

CREATE TRIGGER sandpiper_tool_jobs_added AFTER INSERT ON sandpiper_tool_jobs BEGIN
    INSERT INTO sandpiper_bytes (client, bytes, expiring) VALUES (NEW.client, NEW.bytes, NEW.bytes * NEW.is_final)
    ON CONFLICT (client) DO UPDATE SET bytes = bytes + excluded.bytes, expiring = expiring + excluded.expiring;
END;

CREATE TRIGGER sandpiper_tool_jobs_changed AFTER UPDATE OF client, bytes, is_final ON sandpiper_tool_jobs BEGIN
    INSERT INTO sandpiper_bytes (client, bytes, expiring) VALUES (OLD.client, -OLD.bytes, -OLD.bytes * OLD.is_final)
    ON CONFLICT (client) DO UPDATE SET bytes = bytes + excluded.bytes, expiring = expiring + excluded.expiring;
    INSERT INTO sandpiper_bytes (client, bytes, expiring) VALUES (NEW.client, NEW.bytes, NEW.bytes * NEW.is_final)
    ON CONFLICT (client) DO UPDATE SET bytes = bytes + excluded.bytes, expiring = expiring + excluded.expiring;
END;

CREATE TRIGGER sandpiper_tool_jobs_gone AFTER DELETE ON sandpiper_tool_jobs BEGIN
    DELETE FROM sandpiper_rounds WHERE job_id = OLD.job_id;
    DELETE FROM sandpiper_calls WHERE job_id = OLD.job_id;
    INSERT INTO sandpiper_bytes (client, bytes, expiring) VALUES (OLD.client, -OLD.bytes, -OLD.bytes * OLD.is_final)
    ON CONFLICT (client) DO UPDATE SET bytes = bytes + excluded.bytes, expiring = expiring + excluded.expiring;
END

ALTER TABLE sandpiper_logs ADD COLUMN client TEXT NOT NULL DEFAULT '';

CREATE TABLE sandpiper_bytes (
    client TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    expiring BIGINT NOT NULL
);

CREATE INDEX sandpiper_bytes_client ON sandpiper_bytes (client);

CREATE FUNCTION sandpiper_jobs_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sandpiper_bytes (client, bytes, expiring)
    SELECT client, sum(size), sum(CASE WHEN expires_at IS NULL THEN 0 ELSE size END)
    FROM (SELECT client, expires_at, octet_length(request) + coalesce(octet_length(execution), 0) AS size FROM added) a
    GROUP BY client HAVING sum(size) <> 0;
    RETURN NULL;
END $$;

CREATE FUNCTION sandpiper_jobs_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sandpiper_bytes (client, bytes, expiring)
    SELECT client, sum(size), sum(CASE WHEN expires_at IS NULL THEN 0 ELSE size END)
    FROM (SELECT client, expires_at, octet_length(request) + coalesce(octet_length(execution), 0) AS size FROM added
          UNION ALL
          SELECT client, expires_at, -octet_length(request) - coalesce(octet_length(execution), 0) FROM gone) c
    GROUP BY client HAVING sum(size) <> 0 OR sum(CASE WHEN expires_at IS NULL THEN 0 ELSE size END) <> 0;
    RETURN NULL;
END $$;

CREATE FUNCTION sandpiper_jobs_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sandpiper_bytes (client, bytes, expiring)
    SELECT client, -sum(size), -sum(CASE WHEN expires_at IS NULL THEN 0 ELSE size END)
    FROM (SELECT client, expires_at, octet_length(request) + coalesce(octet_length(execution), 0) AS size FROM gone) g
    GROUP BY client HAVING sum(size) <> 0;
    RETURN NULL;
END $$;

CREATE FUNCTION sandpiper_logs_client() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.client := coalesce((SELECT client FROM sandpiper_jobs WHERE id = NEW.job_id), '');
    RETURN NEW;
END $$;

CREATE FUNCTION sandpiper_logs_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sandpiper_bytes (client, bytes, expiring)
    SELECT client, sum(octet_length(entries)), 0 FROM added GROUP BY client;
    RETURN NULL;
END $$;

CREATE FUNCTION sandpiper_logs_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sandpiper_bytes (client, bytes, expiring)
    SELECT client, -sum(octet_length(entries)), 0 FROM gone GROUP BY client;
    RETURN NULL;
END $$;

CREATE TRIGGER sandpiper_jobs_added AFTER INSERT ON sandpiper_jobs
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION sandpiper_jobs_added();

CREATE TRIGGER sandpiper_jobs_changed AFTER UPDATE ON sandpiper_jobs
    REFERENCING OLD TABLE AS gone NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION sandpiper_jobs_changed();

CREATE TRIGGER sandpiper_jobs_gone AFTER DELETE ON sandpiper_jobs
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION sandpiper_jobs_gone();

CREATE TRIGGER sandpiper_logs_client BEFORE INSERT ON sandpiper_logs
    FOR EACH ROW EXECUTE FUNCTION sandpiper_logs_client();

CREATE TRIGGER sandpiper_logs_added AFTER INSERT ON sandpiper_logs
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION sandpiper_logs_added();

CREATE TRIGGER sandpiper_logs_gone AFTER DELETE ON sandpiper_logs
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION sandpiper_logs_gone();

UPDATE sandpiper_logs SET client = coalesce((SELECT client FROM sandpiper_jobs WHERE id = job_id), '');

INSERT INTO sandpiper_bytes (client, bytes, expiring)
    SELECT client, sum(size), sum(CASE WHEN expires_at IS NULL THEN 0 ELSE size END)
    FROM (SELECT client, expires_at, octet_length(request) + coalesce(octet_length(execution), 0) AS size
          FROM sandpiper_jobs) j
    GROUP BY client HAVING sum(size) <> 0;

INSERT INTO sandpiper_bytes (client, bytes, expiring)
    SELECT client, sum(octet_length(entries)), 0 FROM sandpiper_logs GROUP BY client

CREATE TABLE sandpiper_bytes (
    client TEXT PRIMARY KEY,
    bytes BIGINT NOT NULL,
    expiring BIGINT NOT NULL
);

CREATE TRIGGER sandpiper_jobs_added AFTER INSERT ON sandpiper_jobs BEGIN
    INSERT INTO sandpiper_bytes (client, bytes, expiring)
    SELECT NEW.client, size, CASE WHEN NEW.expires_at IS NULL THEN 0 ELSE size END
    FROM (SELECT length(CAST(NEW.request AS BLOB)) + coalesce(length(CAST(NEW.execution AS BLOB)), 0) AS size)
    WHERE true
    ON CONFLICT (client) DO UPDATE SET bytes = bytes + excluded.bytes, expiring = expiring + excluded.expiring;
END;

CREATE TRIGGER sandpiper_jobs_changed AFTER UPDATE OF client, request, execution, expires_at ON sandpiper_jobs BEGIN
    INSERT INTO sandpiper_bytes (client, bytes, expiring)
    SELECT OLD.client, -size, CASE WHEN OLD.expires_at IS NULL THEN 0 ELSE -size END
    FROM (SELECT length(CAST(OLD.request AS BLOB)) + coalesce(length(CAST(OLD.execution AS BLOB)), 0) AS size)
    WHERE true
    ON CONFLICT (client) DO UPDATE SET bytes = bytes + excluded.bytes, expiring = expiring + excluded.expiring;
    INSERT INTO sandpiper_bytes (client, bytes, expiring)
    SELECT NEW.client, size, CASE WHEN NEW.expires_at IS NULL THEN 0 ELSE size END
    FROM (SELECT length(CAST(NEW.request AS BLOB)) + coalesce(length(CAST(NEW.execution AS BLOB)), 0) AS size)
    WHERE true
    ON CONFLICT (client) DO UPDATE SET bytes = bytes + excluded.bytes, expiring = expiring + excluded.expiring;
END;

CREATE TRIGGER sandpiper_jobs_gone AFTER DELETE ON sandpiper_jobs BEGIN
    INSERT INTO sandpiper_bytes (client, bytes, expiring)
    SELECT OLD.client, -size, CASE WHEN OLD.expires_at IS NULL THEN 0 ELSE -size END
    FROM (SELECT length(CAST(OLD.request AS BLOB)) + coalesce(length(CAST(OLD.execution AS BLOB)), 0) AS size)
    WHERE true
    ON CONFLICT (client) DO UPDATE SET bytes = bytes + excluded.bytes, expiring = expiring + excluded.expiring;
END;

INSERT INTO sandpiper_bytes (client, bytes, expiring)
    SELECT client, sum(size), sum(CASE WHEN expires_at IS NULL THEN 0 ELSE size END)
    FROM (SELECT client, expires_at, length(CAST(request AS BLOB)) + coalesce(length(CAST(execution AS BLOB)), 0) AS size
          FROM sandpiper_jobs)
    GROUP BY client

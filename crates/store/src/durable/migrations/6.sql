CREATE TABLE sandpiper_usage (
    tenant TEXT NOT NULL,
    api_key TEXT NOT NULL,
    period TEXT NOT NULL,
    starts_at BIGINT NOT NULL,
    succeeded BIGINT NOT NULL,
    threw BIGINT NOT NULL,
    timed_out BIGINT NOT NULL,
    memory_exceeded BIGINT NOT NULL,
    stack_exceeded BIGINT NOT NULL,
    output_exceeded BIGINT NOT NULL,
    cancelled BIGINT NOT NULL,
    crashed BIGINT NOT NULL,
    executions_charged BIGINT NOT NULL,
    jobs_queued BIGINT NOT NULL,
    wall_micros BIGINT NOT NULL,
    cpu_micros BIGINT NOT NULL,
    memory_byte_seconds BIGINT NOT NULL,
    bytes_in BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL,
    queued_bytes BIGINT NOT NULL,
    PRIMARY KEY (tenant, period, starts_at, api_key)
);

CREATE INDEX sandpiper_usage_age ON sandpiper_usage (starts_at);

CREATE TABLE sandpiper_usage_added (
    tenant TEXT NOT NULL,
    api_key TEXT NOT NULL,
    hour_at BIGINT NOT NULL,
    day_at BIGINT NOT NULL,
    month_at BIGINT NOT NULL,
    succeeded BIGINT NOT NULL,
    threw BIGINT NOT NULL,
    timed_out BIGINT NOT NULL,
    memory_exceeded BIGINT NOT NULL,
    stack_exceeded BIGINT NOT NULL,
    output_exceeded BIGINT NOT NULL,
    cancelled BIGINT NOT NULL,
    crashed BIGINT NOT NULL,
    executions_charged BIGINT NOT NULL,
    jobs_queued BIGINT NOT NULL,
    wall_micros BIGINT NOT NULL,
    cpu_micros BIGINT NOT NULL,
    memory_byte_seconds BIGINT NOT NULL,
    bytes_in BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL,
    queued_bytes BIGINT NOT NULL
);

CREATE INDEX sandpiper_usage_added_tenant ON sandpiper_usage_added (tenant);

CREATE TABLE sandpiper_usage_flushes (
    node TEXT PRIMARY KEY,
    sequence BIGINT NOT NULL,
    flushed_at BIGINT NOT NULL
)

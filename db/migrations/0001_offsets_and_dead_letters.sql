-- What bekk remembers in the database it writes to. Applied once, in one transaction, by the first
-- sink that starts; bekk.migrations (made by the sink itself) says which of these files have been.

-- Which table of which server a group fills: it refuses another.
CREATE TABLE bekk.groups (
    group_name        text NOT NULL,
    topic             text NOT NULL,
    system_identifier text NOT NULL,
    database_name     text NOT NULL,
    table_name        text NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (group_name, topic)
);

-- How far a group has come in each partition, and who may move it on. The row is updated in the
-- transaction that writes the rows, so that both are there or neither is.
CREATE TABLE bekk.offsets (
    group_name  text NOT NULL,
    topic       text NOT NULL,
    partition   integer NOT NULL,
    next        bigint NOT NULL,           -- the next record to apply
    log_id      uuid NOT NULL,             -- the log that `next` counts in
    epoch       bigint NOT NULL DEFAULT 0, -- raised whenever the lease changes hands
    owner       text,                      -- the sink that holds the lease
    backend_pid integer,                   -- its backend that renews the lease
    lease_until timestamptz,
    rows        bigint NOT NULL DEFAULT 0, -- rows + superseded + dead = records applied
    superseded  bigint NOT NULL DEFAULT 0,
    dead        bigint NOT NULL DEFAULT 0,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (group_name, topic, partition)
) WITH (fillfactor = 50);

-- Records that are no rows, and rows that the table refused.
CREATE TABLE bekk.dead_letters (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_name  text NOT NULL,
    stream      text NOT NULL,
    topic       text NOT NULL,
    partition   integer NOT NULL,
    log_offset  bigint NOT NULL,
    log_id      uuid NOT NULL,
    file        text,
    line        bigint,
    byte_offset bigint,
    reason      text NOT NULL,
    column_name text,
    sqlstate    text,
    detail      text,
    raw         bytea,
    created_at  timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    -- A replay that meets the same record again finds it here.
    UNIQUE (group_name, topic, partition, log_offset, log_id)
);

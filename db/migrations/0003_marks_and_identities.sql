-- What the last record below `next` was: an offset alone is a number that every log has. Rows of earlier versions
-- have none until a sink takes the partition.
ALTER TABLE bekk.offsets
    ADD COLUMN mark_offset       bigint,
    ADD COLUMN mark_timestamp_ms bigint,
    ADD COLUMN mark_crc          bigint,
    -- Why no sink takes the partition until a person has decided (reset, replay); null: every sink may. One of
    -- log_ends_before, log_begins_after, other_record; the detail says what differs.
    ADD COLUMN refusal           text,
    ADD COLUMN refusal_detail    text,
    ADD COLUMN refused_at        timestamptz,
    -- Since `counted_from`, `next` moved by the records applied (rows + superseded + dead - counted_before) and by
    -- the offsets passed that no record has. What is left over is unaccounted.
    ADD COLUMN counted_from      bigint,
    ADD COLUMN counted_before    bigint NOT NULL DEFAULT 0,
    ADD COLUMN passed            bigint NOT NULL DEFAULT 0,
    -- How many rows + superseded the table need not have: a person has decided about it since (reset, replay, adopt).
    ADD COLUMN placed_before     bigint NOT NULL DEFAULT 0;
UPDATE bekk.offsets SET counted_from = next, counted_before = rows + superseded + dead;

-- Which database and table a group fills: a name may be another table's by now. Rows of earlier versions have none
-- until a sink starts.
ALTER TABLE bekk.groups
    ADD COLUMN database_oid bigint,
    ADD COLUMN table_oid    bigint,
    ADD COLUMN table_file   bigint;

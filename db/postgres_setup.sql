-- The sample table, as the sink makes it from bekk.toml. For those who create their tables themselves:
-- the sink checks an existing table against its stream and leaves it as it is.
CREATE TABLE IF NOT EXISTS events (
    event_id    uuid NOT NULL,
    event_type  text NOT NULL,
    user_id     bigint,
    product_id  bigint,
    category    text,
    price       numeric(12,2),
    quantity    integer,
    session_id  uuid,
    event_time  timestamptz NOT NULL,
    ingested_at timestamptz DEFAULT now(),
    PRIMARY KEY (event_id),
    CONSTRAINT events_event_type_allowed CHECK (event_type IN ('view', 'purchase', 'add_to_cart')),
    CONSTRAINT events_price_min CHECK (price >= 0.00)
);
CREATE INDEX IF NOT EXISTS events_event_time_idx ON events (event_time);
CREATE INDEX IF NOT EXISTS events_event_type_idx ON events (event_type);

-- How the sink that took the partition last defines the stream: its schema, and what it does with a key that exists.
-- Sinks of one group with different definitions would write some rows one way and some the other. Null: not known.
ALTER TABLE bekk.offsets
    ADD COLUMN definition text;

-- What became of a dead letter: `retried` (it is a row now), `superseded` (a newer record of its key
-- exists), `replayed` (a replay made it a row) or `discarded` (by a person). Null with a `resolved_at`: someone resolved it by hand.
ALTER TABLE bekk.dead_letters ADD COLUMN resolution text;

-- The key that a retried letter's row has: an earlier letter of that key must not run over it.
ALTER TABLE bekk.dead_letters ADD COLUMN record_key bytea;
CREATE INDEX dead_letters_record_key_idx ON bekk.dead_letters USING hash (record_key)
    WHERE record_key IS NOT NULL;

-- When a replay met it again.
ALTER TABLE bekk.dead_letters ADD COLUMN met_again_at timestamptz;

-- The epoch of the lease with which `definition` was written. A sink of an earlier version raises the epoch and leaves
-- both as they are: then it is not known how it defines the stream.
ALTER TABLE bekk.offsets
    ADD COLUMN definition_epoch bigint;
UPDATE bekk.offsets SET definition_epoch = epoch WHERE definition IS NOT NULL;

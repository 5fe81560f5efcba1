-- Up Migration

-- Numbers are given before commits, so their order is not that of appearance. With the transaction a reader can
-- wait for everything older to be finished, and never misses an event that appears late.
ALTER TABLE session_events ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX session_events_feed ON session_events (xid, id);

-- Down Migration

DROP INDEX session_events_feed;
ALTER TABLE session_events DROP COLUMN xid;

-- Up Migration

-- Live guests of a tenant are counted before another one may come; guests that ended are kept for a shorter time.
CREATE INDEX sessions_live_guests ON sessions (tenant_id) WHERE ended_at IS NULL AND user_id IS NULL;
CREATE INDEX sessions_ended_guests ON sessions (ended_at) WHERE ended_at IS NOT NULL AND user_id IS NULL;

-- Down Migration

DROP INDEX sessions_ended_guests, sessions_live_guests;

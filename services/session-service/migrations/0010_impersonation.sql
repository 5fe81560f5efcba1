-- Up Migration

-- The session of the person who acts as the user: when it ends, so does the impersonation.
ALTER TABLE sessions ADD COLUMN actor_session uuid;
CREATE INDEX sessions_by_actor ON sessions (actor_session) WHERE ended_at IS NULL AND actor_session IS NOT NULL;

-- Down Migration

DROP INDEX sessions_by_actor;
ALTER TABLE sessions DROP COLUMN actor_session;

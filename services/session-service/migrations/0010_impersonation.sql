-- Up Migration

-- A build with CONCURRENTLY that failed leaves an index that is not used, and that IF NOT EXISTS takes for a good one.
DO $$
DECLARE name text;
BEGIN
  FOR name IN
    SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = 'sessions'::regclass AND NOT i.indisvalid AND c.relname = 'sessions_by_actor'
  LOOP
    EXECUTE format('DROP INDEX %I', name);
  END LOOP;
END $$;

-- The session of the person who acts as the user: when it ends, so does the impersonation.
ALTER TABLE sessions ADD COLUMN IF NOT EXISTS actor_session uuid;
CREATE INDEX IF NOT EXISTS sessions_by_actor ON sessions (actor_session) WHERE ended_at IS NULL AND actor_session IS NOT NULL;

-- Down Migration

DROP INDEX sessions_by_actor;
ALTER TABLE sessions DROP COLUMN actor_session;

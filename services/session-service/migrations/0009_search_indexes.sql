-- Up Migration

-- A build with CONCURRENTLY that failed leaves an index that is not used, and that IF NOT EXISTS takes for a good one.
DO $$
DECLARE name text;
BEGIN
  FOR name IN
    SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = 'sessions'::regclass AND NOT i.indisvalid AND c.relname IN ('sessions_by_device', 'sessions_by_client', 'sessions_by_created_ip',
      'sessions_by_last_ip', 'sessions_by_idp_session', 'sessions_by_idp_subject')
  LOOP
    EXECUTE format('DROP INDEX %I', name);
  END LOOP;
END $$;

-- What a search compares exactly. Newest first where the value alone may fit many sessions.
CREATE INDEX IF NOT EXISTS sessions_by_device ON sessions (tenant_id, device_id, created_at DESC, id DESC)
  WHERE device_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS sessions_by_client ON sessions (tenant_id, client_kind, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS sessions_by_created_ip ON sessions (tenant_id, created_ip) WHERE created_ip IS NOT NULL;
CREATE INDEX IF NOT EXISTS sessions_by_last_ip ON sessions (tenant_id, last_ip) WHERE last_ip IS NOT NULL;
CREATE INDEX IF NOT EXISTS sessions_by_idp_session ON sessions (tenant_id, idp_sid, created_at DESC, id DESC)
  WHERE idp_sid IS NOT NULL;
CREATE INDEX IF NOT EXISTS sessions_by_idp_subject ON sessions (tenant_id, idp_sub, created_at DESC, id DESC)
  WHERE idp_sub IS NOT NULL;

-- Down Migration

DROP INDEX sessions_by_device, sessions_by_client, sessions_by_created_ip, sessions_by_last_ip,
  sessions_by_idp_session, sessions_by_idp_subject;

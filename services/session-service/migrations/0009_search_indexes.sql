-- Up Migration

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

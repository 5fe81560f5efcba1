-- Up Migration

-- Locks a user until the end of the transaction and counts the live sessions, if one more may begin with nobody
-- giving way; else NULL.
-- Being volatile, it counts what is committed after it got the lock: the statement that calls it needs no second look.
CREATE FUNCTION subject_room(of_tenant text, of_user text, default_max integer, default_rule text, has_device boolean)
RETURNS integer LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  most integer;
  rule text;
  is_disabled boolean;
  live integer;
BEGIN
  INSERT INTO subjects (tenant_id, user_id) VALUES (of_tenant, of_user)
    ON CONFLICT (tenant_id, user_id) DO UPDATE SET updated_at = now()
    RETURNING coalesce(max_sessions, default_max), coalesce(at_limit, default_rule), disabled_at IS NOT NULL
    INTO most, rule, is_disabled;
  -- A device that is replaced gives way whatever the count.
  IF is_disabled OR (rule = 'replace_device' AND has_device) THEN
    RETURN NULL;
  END IF;
  SELECT count(*) INTO live FROM sessions
  WHERE tenant_id = of_tenant AND user_id = of_user AND ended_at IS NULL AND expires_at > now()
    AND (idle_seconds = 0 OR last_seen_at + make_interval(secs => idle_seconds) >= now());
  RETURN CASE WHEN live < most THEN live END;
END $$;

-- Down Migration

DROP FUNCTION subject_room(text, text, integer, text, boolean);

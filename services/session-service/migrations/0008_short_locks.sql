-- Up Migration

-- Both functions need the exclusive lock of session_events, and every login queues behind whoever waits for it. They wait
-- for 50 ms and leave the rest to the next call, an hour later: partitions are made two months ahead.
CREATE OR REPLACE FUNCTION ensure_session_event_partitions(months_ahead integer) RETURNS void LANGUAGE plpgsql
SET lock_timeout = '50ms' AS $$
DECLARE
  first date := date_trunc('month', now() AT TIME ZONE 'UTC')::date;
  month date;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtext('session_events.partitions')) THEN
    RETURN;
  END IF;
  FOR n IN 0..months_ahead LOOP
    month := (first + make_interval(months => n))::date;
    IF to_regclass('session_events_' || to_char(month, 'YYYYMM')) IS NULL THEN
      BEGIN
        EXECUTE format(
          'CREATE TABLE %I PARTITION OF session_events FOR VALUES FROM (%L) TO (%L)',
          'session_events_' || to_char(month, 'YYYYMM'),
          month::timestamp AT TIME ZONE 'UTC',
          (month + interval '1 month') AT TIME ZONE 'UTC');
      EXCEPTION WHEN lock_not_available THEN
        RETURN;
      END;
    END IF;
  END LOOP;
END $$;

-- The rows of the default partition go first: nothing else is done once the lock is held.
CREATE OR REPLACE FUNCTION drop_session_event_partitions(days integer) RETURNS integer LANGUAGE plpgsql
SET lock_timeout = '50ms' AS $$
DECLARE
  name text;
  month date;
  dropped integer := 0;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtext('session_events.partitions')) THEN
    RETURN 0;
  END IF;
  DELETE FROM session_events_default WHERE at < now() - make_interval(days => days);
  FOR name IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'session_events'::regclass AND c.relname ~ '^session_events_\d{6}$'
  LOOP
    month := to_date(right(name, 6), 'YYYYMM');
    IF (month + interval '1 month') AT TIME ZONE 'UTC' < now() - make_interval(days => days) THEN
      BEGIN
        EXECUTE format('DROP TABLE %I', name);
      EXCEPTION WHEN lock_not_available THEN
        RETURN dropped;
      END;
      dropped := dropped + 1;
    END IF;
  END LOOP;
  RETURN dropped;
END $$;

-- Down Migration

ALTER FUNCTION ensure_session_event_partitions(integer) RESET lock_timeout;
ALTER FUNCTION drop_session_event_partitions(integer) RESET lock_timeout;

-- Up Migration

-- Drops the months of the log book that lie entirely before the given number of days; deletes such rows of the
-- default partition. Answers how many partitions went.
CREATE FUNCTION drop_session_event_partitions(days integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  name text;
  month date;
  dropped integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('session_events.partitions'));
  FOR name IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'session_events'::regclass AND c.relname ~ '^session_events_\d{6}$'
  LOOP
    month := to_date(right(name, 6), 'YYYYMM');
    IF (month + interval '1 month') AT TIME ZONE 'UTC' < now() - make_interval(days => days) THEN
      EXECUTE format('DROP TABLE %I', name);
      dropped := dropped + 1;
    END IF;
  END LOOP;
  DELETE FROM session_events_default WHERE at < now() - make_interval(days => days);
  RETURN dropped;
END $$;

-- Down Migration

DROP FUNCTION drop_session_event_partitions(integer);

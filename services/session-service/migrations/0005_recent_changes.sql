-- Up Migration

-- What gateways ask for each second while they cannot hear the bus: changes of live sessions in the last minute.
CREATE INDEX session_events_changes ON session_events (at)
  WHERE type IN ('session.updated', 'session.stepped_up', 'session.upgraded');

-- Down Migration

DROP INDEX session_events_changes;

-- Up Migration

-- The request that made an entry, as logs and answers name it; and who acts as the user, where a session is impersonated.
ALTER TABLE session_events ADD COLUMN request_id text, ADD COLUMN impersonator text;

-- Down Migration

ALTER TABLE session_events DROP COLUMN request_id, DROP COLUMN impersonator;

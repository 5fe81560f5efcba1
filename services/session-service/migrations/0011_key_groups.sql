-- Up Migration

-- The groups that grants of sessions may name which this key makes or changes. NULL: all of its tenant.
ALTER TABLE api_keys ADD COLUMN groups text[];

-- Down Migration

ALTER TABLE api_keys DROP COLUMN groups;

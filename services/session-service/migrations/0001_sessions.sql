-- Up Migration

-- One row per user that ever had a session: the user's own rules, and the lock under which sessions are counted.
CREATE TABLE subjects (
  tenant_id text NOT NULL,
  user_id text NOT NULL,
  max_sessions integer CHECK (max_sessions BETWEEN 1 AND 10000),
  at_limit text CHECK (at_limit IN ('reject', 'evict_oldest', 'evict_idle', 'replace_device')),
  disabled_at timestamptz,
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, user_id)
);

CREATE TABLE sessions (
  id uuid PRIMARY KEY,
  tenant_id text NOT NULL DEFAULT 'default' CHECK (length(tenant_id) BETWEEN 1 AND 64),
  user_id text CHECK (length(user_id) BETWEEN 1 AND 255), -- NULL: a guest
  kind text NOT NULL CHECK (kind IN ('user', 'guest', 'service')),
  policy text NOT NULL,
  transport text NOT NULL CHECK (transport IN ('cookie', 'bearer')),
  remember boolean NOT NULL DEFAULT true,
  secret_hash bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
  prev_hash bytea CHECK (octet_length(prev_hash) = 32),
  prev_until timestamptz,
  rotated_at timestamptz,
  rev integer NOT NULL DEFAULT 1,
  device_id text CHECK (length(device_id) BETWEEN 1 AND 128),
  label text CHECK (length(label) BETWEEN 1 AND 100),
  client_kind text NOT NULL DEFAULT 'web' CHECK (length(client_kind) BETWEEN 1 AND 32),
  client_summary text CHECK (length(client_summary) <= 120),
  user_agent text CHECK (length(user_agent) <= 512),
  created_ip inet, -- shortened before it gets here
  last_ip inet,
  country char(2),
  auth_time timestamptz,
  aal smallint NOT NULL DEFAULT 0 CHECK (aal BETWEEN 0 AND 3),
  amr text[] NOT NULL DEFAULT '{}',
  idp text,
  idp_sid text,
  idp_sub text,
  actor_id text,
  actor_reason text,
  data jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(data) = 'object'),
  grants jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(grants) = 'array'),
  -- Whole milliseconds, so that a cursor names the instant exactly.
  created_at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', now()),
  last_seen_at timestamptz NOT NULL DEFAULT now(),
  idle_seconds integer NOT NULL CHECK (idle_seconds >= 0), -- 0: never idle
  expires_at timestamptz NOT NULL,
  idle_check_at timestamptz NOT NULL,
  ended_at timestamptz,
  end_reason text,
  CHECK ((ended_at IS NULL) = (end_reason IS NULL)),
  CHECK (expires_at > created_at),
  CHECK ((user_id IS NULL) = (kind = 'guest'))
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

-- last_seen_at is in no index, so that touches stay heap-only updates.
CREATE INDEX sessions_live_by_user ON sessions (tenant_id, user_id, created_at DESC, id DESC)
  WHERE ended_at IS NULL AND user_id IS NOT NULL;
CREATE INDEX sessions_by_user ON sessions (tenant_id, user_id, created_at DESC, id DESC) WHERE user_id IS NOT NULL;
CREATE INDEX sessions_by_time ON sessions (tenant_id, created_at DESC, id DESC);
CREATE INDEX sessions_expiry ON sessions (expires_at) WHERE ended_at IS NULL;
CREATE INDEX sessions_idle ON sessions (idle_check_at) WHERE ended_at IS NULL;
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX sessions_by_idp ON sessions (tenant_id, idp, idp_sid) WHERE ended_at IS NULL AND idp_sid IS NOT NULL;
CREATE INDEX sessions_by_idp_sub ON sessions (tenant_id, idp, idp_sub) WHERE ended_at IS NULL AND idp_sub IS NOT NULL;

-- What Redis and the bus must still hear of; written in the transaction of the change itself.
CREATE TABLE outbox (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  created_at timestamptz NOT NULL DEFAULT now(),
  topic text NOT NULL,
  payload jsonb NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

CREATE SEQUENCE session_events_id_seq;
CREATE TABLE session_events (
  id bigint NOT NULL DEFAULT nextval('session_events_id_seq'),
  at timestamptz NOT NULL DEFAULT now(),
  tenant_id text NOT NULL,
  user_id text,
  session_id uuid,
  type text NOT NULL,
  actor text,
  ip inet,
  detail jsonb NOT NULL DEFAULT '{}',
  PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);
CREATE TABLE session_events_default PARTITION OF session_events DEFAULT;
CREATE INDEX session_events_by_user ON session_events (tenant_id, user_id, at DESC, id DESC);
CREATE INDEX session_events_by_session ON session_events (session_id, at DESC, id DESC);
CREATE INDEX session_events_by_id ON session_events (id);

-- Makes the partitions of this month and the next ones; replicas that do it at once wait for each other.
CREATE FUNCTION ensure_session_event_partitions(months_ahead integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  first date := date_trunc('month', now() AT TIME ZONE 'UTC')::date;
  month date;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('session_events.partitions'));
  FOR n IN 0..months_ahead LOOP
    month := (first + make_interval(months => n))::date;
    IF to_regclass('session_events_' || to_char(month, 'YYYYMM')) IS NULL THEN
      EXECUTE format(
        'CREATE TABLE %I PARTITION OF session_events FOR VALUES FROM (%L) TO (%L)',
        'session_events_' || to_char(month, 'YYYYMM'),
        month::timestamp AT TIME ZONE 'UTC',
        (month + interval '1 month') AT TIME ZONE 'UTC');
    END IF;
  END LOOP;
END $$;
SELECT ensure_session_event_partitions(2);

CREATE TABLE idempotency_keys (
  tenant_id text NOT NULL,
  caller text NOT NULL,
  key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
  request_hash bytea NOT NULL,
  session_id uuid,
  session_rev integer,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, caller, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

CREATE TABLE api_keys (
  id uuid PRIMARY KEY,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
  hash bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
  scopes text[] NOT NULL,
  tenant_id text, -- NULL: every tenant
  created_at timestamptz NOT NULL DEFAULT now(),
  last_used_at timestamptz,
  revoked_at timestamptz
);

CREATE TABLE tenants (
  id text PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
  policy jsonb NOT NULL DEFAULT '{}',
  updated_at timestamptz NOT NULL DEFAULT now()
);

-- Down Migration

DROP TABLE tenants, api_keys, idempotency_keys, session_events, outbox, sessions, subjects;
DROP FUNCTION ensure_session_event_partitions(integer);
DROP SEQUENCE session_events_id_seq;

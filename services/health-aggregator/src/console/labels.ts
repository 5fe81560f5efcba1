import type { FleetSnapshot } from '../core/fleet-snapshot.ts';
import type { InstanceState } from '../core/ports.ts';
import type { ServiceStatus } from '../core/status.ts';

/** Severity of a label; each tone has its own colour and icon. */
export type Tone = 'ok' | 'warning' | 'major' | 'critical' | 'draining' | 'starting' | 'unknown';

interface Label {
  readonly tone: Tone;
  readonly label: string;
}

export const INSTANCE_STATE_LABELS: Readonly<Record<InstanceState, Label>> = {
  starting: { tone: 'starting', label: 'Starting' },
  up: { tone: 'ok', label: 'Up' },
  degraded: { tone: 'warning', label: 'Degraded' },
  suspect: { tone: 'major', label: 'Suspect' },
  down: { tone: 'critical', label: 'Down' },
  draining: { tone: 'draining', label: 'Draining' },
  gone: { tone: 'unknown', label: 'Gone' },
};

export const SERVICE_STATUS_LABELS: Readonly<Record<ServiceStatus, Label>> = {
  operational: { tone: 'ok', label: 'Operational' },
  degraded: { tone: 'warning', label: 'Degraded' },
  partial_outage: { tone: 'major', label: 'Partial outage' },
  major_outage: { tone: 'critical', label: 'Major outage' },
  unknown: { tone: 'unknown', label: 'Unknown' },
};

/** Status of Redis and Postgres; `degraded` means that some instances cannot reach the store. */
export const STORE_STATUS_LABELS: Readonly<Record<string, Label>> = {
  up: { tone: 'ok', label: 'Up' },
  degraded: { tone: 'warning', label: 'Partially reachable' },
  down: { tone: 'critical', label: 'Down' },
  unknown: { tone: 'unknown', label: 'Unknown' },
};

/** Result of the last synthetic checks. */
export const SYNTHETIC_CHECK_LABELS: Readonly<Record<'ok' | 'failed' | 'failing', Label>> = {
  ok: { tone: 'ok', label: 'Passing' },
  failed: { tone: 'major', label: 'Failed once' },
  failing: { tone: 'critical', label: 'Failing' },
};

const HEADLINES: Readonly<Record<ServiceStatus, string>> = {
  operational: 'All systems operational',
  degraded: 'Degraded: slower responses or reduced redundancy',
  partial_outage: 'Partial outage',
  major_outage: 'Major outage',
  unknown: 'No data yet',
};

const STORE_OUTAGES: Readonly<Record<string, string>> = {
  redis: 'Messages are not delivered',
  database: 'Sign-in is unavailable',
};

/** Headline of a snapshot: the effect on users where the cause shows it, otherwise the status. */
export const headline = ({ status, dependencies, impact, journey }: FleetSnapshot): string => {
  const [firstDown] = Object.keys(dependencies).filter((name) => dependencies[name]?.status === 'down');
  if (status === 'partial_outage' && firstDown !== undefined) return STORE_OUTAGES[firstDown] ?? HEADLINES[status];
  if (status === 'degraded' && impact[0] !== undefined) return `Degraded: ${firstClause(impact[0].users)}`;
  if (status !== 'major_outage') return HEADLINES[status];
  if (Object.values(dependencies).every((store) => store.status === 'down'))
    return 'Redis and Postgres are unavailable';
  return journey?.status === 'failing' ? 'Messages are not delivered' : HEADLINES.major_outage;
};

/** The text up to its first full stop, colon or semicolon, in lower case at its start. */
const firstClause = (text: string): string => {
  const [clause = ''] = text.split(/[.:;]/);
  return clause.charAt(0).toLowerCase() + clause.slice(1);
};

export const SERVICE_DESCRIPTIONS: Readonly<Record<string, string>> = {
  'session-service': 'sign-in and sessions',
  'ws-gateway': 'connections and groups',
  'health-aggregator': 'health checks and this console',
};

const REASON_LABELS: Readonly<Record<string, string>> = {
  ready: '',
  recovered: '',
  resumed: '',
  seen: 'not verified yet',
  refused: 'refuses connections',
  reset: 'resets connections',
  timeout: 'timed out',
  unready: 'reports not ready',
  http_error: 'responds with an error',
  no_socket: 'rejects WebSocket connections',
  bad_body: 'unexpected response',
  unreachable: 'unreachable',
  beat_late: 'heartbeat is late',
  loop_slow: 'event loop is slow',
  loop_busy: 'event loop is saturated',
  near_limit: 'near its connection limit',
  slow_answers: 'slow responses',
  says_degraded: 'reports degraded',
  unregistered: 'responds but has no heartbeat; check REDIS_URL and REDIS_PREFIX',
  flapping: 'flapping',
  says_draining: 'accepts no new clients',
};

/** Text of a reason code; an unlisted code is shown with spaces. */
export const reasonLabel = (code: string): string => {
  if (code === 'dependency_session_service') return 'session service unreachable';
  if (code.startsWith('dependency_')) return `${code.slice('dependency_'.length)} unreachable`;
  return REASON_LABELS[code] ?? code.replaceAll('_', ' ');
};

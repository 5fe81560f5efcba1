import type { FleetSnapshot } from '../core/fleet-snapshot.ts';
import type { InstanceState } from '../core/ports.ts';
import type { ServiceStatus } from '../core/status.ts';

/** The tones of the page; each has its own colour and its own shape. */
export type Tone = 'good' | 'remark' | 'doubt' | 'bad' | 'leaving' | 'coming' | 'unknown';

/** How states of instances are shown. */
export const INSTANCE_STATE_LABELS: Readonly<
  Record<InstanceState, { readonly tone: Tone; readonly word: string }>
> = {
  starting: { tone: 'coming', word: 'Starting' },
  up: { tone: 'good', word: 'Up' },
  degraded: { tone: 'remark', word: 'Degraded' },
  suspect: { tone: 'doubt', word: 'Suspect' },
  down: { tone: 'bad', word: 'Down' },
  draining: { tone: 'leaving', word: 'Draining' },
  gone: { tone: 'unknown', word: 'Gone' },
};

/** How statuses of services are shown. */
export const SERVICE_STATUS_LABELS: Readonly<
  Record<ServiceStatus, { readonly tone: Tone; readonly word: string }>
> = {
  operational: { tone: 'good', word: 'Operational' },
  degraded: { tone: 'remark', word: 'Degraded' },
  partial_outage: { tone: 'doubt', word: 'Partial outage' },
  major_outage: { tone: 'bad', word: 'Major outage' },
  unknown: { tone: 'unknown', word: 'Unknown' },
};

/** How the word on a store is shown. */
export const STORE_STATUS_LABELS: Readonly<Record<string, { readonly tone: Tone; readonly word: string }>> = {
  up: { tone: 'good', word: 'Up' },
  degraded: { tone: 'remark', word: 'Some cannot reach it' },
  down: { tone: 'bad', word: 'Down' },
  unknown: { tone: 'unknown', word: 'Unknown' },
};

/** How the last journey of a test message is shown. */
export const SYNTHETIC_CHECK_LABELS: Readonly<
  Record<'ok' | 'failed' | 'failing', { readonly tone: Tone; readonly word: string }>
> = {
  ok: { tone: 'good', word: 'Arrives' },
  failed: { tone: 'doubt', word: 'Failed once' },
  failing: { tone: 'bad', word: 'Does not arrive' },
};

/** The whole fleet in one line, as at a roll-call. */
export const HEADLINES: Readonly<Record<ServiceStatus, string>> = {
  operational: 'All present.',
  degraded: 'Present, with remarks.',
  partial_outage: 'Someone is missing.',
  major_outage: 'Nobody answers.',
  unknown: 'No word yet.',
};

const STORE_HEADLINES: Readonly<Record<string, string>> = {
  redis: 'Messages are not delivered.',
  database: 'Nobody can sign in.',
};

/** The headline of a view. An outage of everything has a better name where its cause is plain. */
export const headline = ({ status, dependencies, journey }: FleetSnapshot): string => {
  const down = Object.keys(dependencies).filter((name) => dependencies[name]?.status === 'down');
  if (status === 'partial_outage' && down[0] !== undefined)
    return STORE_HEADLINES[down[0]] ?? HEADLINES[status];
  if (status !== 'major_outage') return HEADLINES[status];
  if (Object.values(dependencies).every((store) => store.status === 'down')) return 'The stores are gone.';
  return journey?.status === 'failing' ? 'Messages do not arrive.' : HEADLINES.major_outage;
};

/** What the services of this fleet are for. */
export const SERVICE_DESCRIPTIONS: Readonly<Record<string, string>> = {
  'session-service': 'who is signed in',
  'ws-gateway': 'sockets and groups',
  'health-aggregator': 'this roll-call',
};

const REASON_LABELS: Readonly<Record<string, string>> = {
  ready: '',
  recovered: '',
  resumed: '',
  seen: 'first seen, not yet asked twice',
  refused: 'refuses connections',
  reset: 'cuts connections',
  timeout: 'does not answer in time',
  unready: 'says it is not ready',
  http_error: 'answers with an error',
  no_socket: 'opens no sockets',
  bad_body: 'answers nonsense',
  unreachable: 'cannot be reached',
  beat_late: 'its heartbeat is late',
  loop_slow: 'its event loop is slow',
  loop_busy: 'its event loop is busy',
  near_limit: 'close to its connection limit',
  slow_answers: 'answers slowly',
  says_degraded: 'says it is degraded',
  unregistered: 'answers, and does not beat here: is its registry another one?',
  flapping: 'falls and rises again and again',
  says_draining: 'takes no new clients',
};

/** A cause code in words; codes without words are shown as they are. */
export const reasonLabel = (code: string): string => {
  if (code === 'dependency_session_service') return 'cannot ask the session service';
  if (code.startsWith('dependency_')) return `cannot reach ${code.slice('dependency_'.length)}`;
  return REASON_LABELS[code] ?? code.replaceAll('_', ' ');
};

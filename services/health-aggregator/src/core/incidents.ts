import type { FleetSnapshot, InstanceSnapshot } from './fleet-snapshot.ts';
import { type ServiceStatus, STORE_STATUS } from './status.ts';

/** A remark must last, and a recovery must hold, so many times as long as an outage. */
const PATIENCE = 6;
const MAX_UPDATES = 100;

/** How bad an incident is; the words are those of service statuses. */
export type Severity = 'degraded' | 'partial_outage' | 'major_outage';

/** What happened in an incident, one line. */
export interface IncidentUpdate {
  /** ms since epoch. */
  readonly at: number;
  readonly status: ServiceStatus;
  /** Codes of what was seen, such as `ws-gateway-1 down refused`. */
  readonly seen: readonly string[];
  /** What an operator wrote. */
  readonly text?: string;
  /** The request that wrote it, where that may be repeated. */
  readonly madeBy?: IdempotentRequest;
}

/** A request with an idempotency key; both are digests. */
export interface IdempotentRequest {
  readonly key: string;
  readonly request: string;
}

/** A time in which a service or a store was not well. */
export interface Incident {
  readonly id: string;
  /** A service, or `database`; of a note whatever its author says. */
  readonly subject: string;
  /** True for what an operator wrote: nobody but operators updates or closes it. */
  readonly isNote?: boolean;
  /** The worst it has been. */
  readonly severity: Severity;
  readonly openedAt: number;
  readonly closedAt?: number;
  /** True when it was already so at the first look of the observer: it may have begun before `openedAt`. */
  readonly isStartUnknown?: boolean;
  /** Counts the changes: with the id it names a notification for ever. */
  readonly seq: number;
  readonly updates: readonly IncidentUpdate[];
}

/** A change that somebody should hear of. */
export interface IncidentChange {
  readonly kind: 'opened' | 'updated' | 'closed';
  readonly incident: Incident;
}

/** Those that are not over. */
export const openIncidents = (incidents: readonly Incident[]): Incident[] =>
  incidents.filter(({ closedAt }) => closedAt === undefined);

/** What an operator says. */
export interface NoteText {
  readonly text: string;
  readonly status: Severity;
  readonly madeBy?: IdempotentRequest;
}

/** What became of a change: `outdated` is one of a note that somebody else has changed since it was read. */
export type WriteOutcome = 'written' | 'refused' | 'outdated';

/** A note that begins now. */
export const openIncidentNote = (
  id: string,
  { subject, status, ...said }: NoteText & { readonly subject: string },
  now: number,
): IncidentChange => ({
  kind: 'opened',
  incident: {
    ...{ id, subject, isNote: true, severity: status, openedAt: now, seq: 1 },
    updates: [{ at: now, status, seen: [], ...said }],
  },
});

/** Adds to a note, or ends it. */
export const updateIncidentNote = (
  note: Incident,
  { closes, ...said }: Omit<NoteText, 'status'> & { readonly closes: boolean },
  now: number,
): IncidentChange => {
  const status: ServiceStatus = closes ? 'operational' : note.severity;
  const incident = extend(note, { at: now, status, seen: [], ...said });
  return closes
    ? { kind: 'closed', incident: { ...incident, closedAt: now } }
    : { kind: 'updated', incident };
};

interface Condition {
  readonly status: ServiceStatus;
  /** When it was first seen so. */
  readonly since: number;
  /** When it became so by the first evidence, which was gathered earlier. */
  readonly beganAt: number;
  /** Since when, by evidence, it has been anything but operational, without a break. */
  readonly badSince: number | undefined;
  /** True until the first change of status that was seen. */
  readonly isFirst: boolean;
}

/** Opens, updates and closes incidents from what the fleet looks like. Every aggregator has one; the leader's changes are written. */
export interface IncidentDetector {
  /** Goes on with these incidents and no others; how long conditions have lasted is remembered. */
  adopt(open: readonly Incident[]): void;
  /** Looks at the fleet, at `now` in ms since epoch; call it each second. */
  observe(view: FleetSnapshot, now: number): readonly IncidentChange[];
}

const RANK: Readonly<Record<Severity, number>> = { degraded: 1, partial_outage: 2, major_outage: 3 };
const isSeverity = (status: ServiceStatus): status is Severity => status in RANK;

/** Makes a keeper. `newId` gives unique ids; an outage of `afterMs` is an incident. */
export const createIncidentDetector = (newId: () => string, afterMs: number): IncidentDetector => {
  const conditions = new Map<string, Condition>();
  const open = new Map<string, Incident>();

  const judge = (subject: Subject, now: number): IncidentChange | undefined => {
    const before = conditions.get(subject.name);
    const condition = next(before, subject, now);
    conditions.set(subject.name, condition);
    const lastedMs = now - condition.since;
    const incident = open.get(subject.name);
    const seen: Seen = { ...subject, ...condition, lastedMs, now, afterMs };
    const change = incident ? progress(incident, seen) : begin(seen, newId);
    if (change?.kind === 'closed') open.delete(subject.name);
    else if (change) open.set(subject.name, change.incident);
    return change;
  };

  return {
    adopt: (incidents) => {
      open.clear();
      for (const incident of incidents) if (!incident.isNote) open.set(incident.subject, incident);
    },
    observe: (view, now) =>
      subjectsOf(view)
        .map((subject) => judge(subject, now))
        .filter((change) => change !== undefined),
  };
};

/** What was seen of a subject, and for how long it has been so. */
interface Seen extends Subject {
  readonly lastedMs: number;
  readonly now: number;
  readonly afterMs: number;
  readonly isFirst: boolean;
  readonly beganAt: number;
  readonly badSince: number | undefined;
}

/** What is not known ends no condition at the start: the first thing seen after it may be old. */
const next = (
  before: Condition | undefined,
  { status, forMs = 0 }: Pick<Subject, 'status' | 'forMs'>,
  now: number,
): Condition => {
  if (before?.status === status) return before;
  const isFirst = before === undefined || (before.isFirst && before.status === 'unknown');
  const beganAt = now - forMs;
  const badSince = isSeverity(status) ? Math.min(before?.badSince ?? now, beganAt) : undefined;
  return { status, since: now, beganAt, isFirst, badSince };
};

const begin = (
  { name, status, seen, lastedMs, now, afterMs, isFirst, badSince }: Seen,
  newId: () => string,
): IncidentChange | undefined => {
  // What is not known is neither good nor bad news.
  if (!isSeverity(status)) return undefined;
  if (lastedMs < (status === 'degraded' ? PATIENCE * afterMs : afterMs)) return undefined;
  const incident: Incident = {
    id: newId(),
    subject: name,
    severity: status,
    openedAt: badSince ?? now - lastedMs,
    ...(isFirst ? { isStartUnknown: true } : {}),
    seq: 1,
    updates: [{ at: now, status, seen }],
  };
  return { kind: 'opened', incident };
};

const progress = (
  incident: Incident,
  { status, seen, lastedMs, beganAt, now, afterMs }: Seen,
): IncidentChange | undefined => {
  if (status === 'operational') {
    if (lastedMs < PATIENCE * afterMs) return undefined;
    const closedAt = Math.max(beganAt, incident.openedAt);
    const closed = { ...extend(incident, { at: now, status, seen }), closedAt };
    return { kind: 'closed', incident: closed };
  }
  const last = incident.updates.at(-1)?.status;
  if (!isSeverity(status) || status === last || lastedMs < afterMs) return undefined;
  const severity = RANK[status] > RANK[incident.severity] ? status : incident.severity;
  return { kind: 'updated', incident: { ...extend(incident, { at: now, status, seen }), severity } };
};

const extend = (incident: Incident, update: IncidentUpdate): Incident => ({
  ...incident,
  seq: incident.seq + 1,
  updates: [...incident.updates, update].slice(-MAX_UPDATES),
});

interface Subject {
  readonly name: string;
  readonly status: ServiceStatus;
  readonly seen: readonly string[];
  /** How long it has been so by the first evidence, ms. */
  readonly forMs?: number | undefined;
}

/** Services and stores. What a store explains is not an incident of the services that use it. */
const subjectsOf = (view: FleetSnapshot): readonly Subject[] => {
  const services = view.services.map(({ service, status, instances }) => {
    const others = instances.filter(({ state }) => state !== 'up');
    const isExplained =
      status === 'degraded' && others.every(({ state, why }) => isOfStore(view, state, why));
    return {
      name: service,
      status: isExplained && others.length > 0 ? ('unknown' as const) : status,
      seen: others.map(({ name, state, why }) => `${name} ${state} ${why}`),
      forMs: evidenceForMs(status, instances),
    };
  });
  const stores = Object.entries(view.dependencies).map(([name, { status, reasons = [], forMs }]) => ({
    name,
    forMs,
    status: STORE_STATUS[status],
    seen: reasons,
  }));
  return [...services, ...stores];
};

/** Of a fault: since the first probe that failed of those that are missing now. Of a recovery: since the last of them answered. */
export const evidenceForMs = (
  status: ServiceStatus,
  instances: readonly InstanceSnapshot[],
): number | undefined => {
  const isFault = isSeverity(status);
  const times = instances
    .filter(({ state }) => (isFault ? state === 'suspect' || state === 'down' : state === 'up'))
    .flatMap(({ evidenceForMs: ms }) => (ms === undefined ? [] : [ms]));
  if (times.length === 0) return undefined;
  return isFault ? Math.max(...times) : Math.min(...times);
};

/** How instances name the session service among what they depend on. */
const isOfSessionService = (view: FleetSnapshot, why: string): boolean =>
  why === 'dependency_session_service' &&
  view.services.some(({ service, status }) => service === 'session-service' && isSeverity(status));

const isOfStore = (view: FleetSnapshot, state: string, why: string): boolean =>
  state === 'degraded' &&
  (isOfSessionService(view, why) ||
    Object.entries(view.dependencies).some(
      ([name, { status }]) =>
        status !== 'up' &&
        (why === `dependency_${name}` || (name === 'database' && why === 'dependency_postgres')),
    ));

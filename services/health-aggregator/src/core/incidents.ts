import type { FleetSnapshot, InstanceSnapshot } from './fleet-snapshot.ts';
import { type ServiceStatus, STATUS_OF_DEPENDENCY } from './status.ts';

/** A degradation opens an incident, and a recovery closes it, after this many times the threshold of an outage. */
const DEGRADED_FACTOR = 6;
const MAX_UPDATES = 100;

/** Severity of an incident: a service status. */
export type Severity = 'degraded' | 'partial_outage' | 'major_outage';

/** One entry in the log of an incident. */
export interface IncidentUpdate {
  /** ms since the epoch. */
  readonly at: number;
  readonly status: ServiceStatus;
  /** Codes of the observations, such as `ws-gateway-1 down refused`. */
  readonly seen: readonly string[];
  /** Text of an operator. */
  readonly text?: string;
  /** The request that wrote it, if it had an idempotency key. */
  readonly madeBy?: IdempotentRequest;
}

/** A request with an idempotency key; digests of both. */
export interface IdempotentRequest {
  readonly key: string;
  readonly request: string;
}

/** A period in which a service or a store was not operational. */
export interface Incident {
  readonly id: string;
  /** A service or a store; of a note any text. */
  readonly subject: string;
  /** True for a note of an operator: only operators update and close it. */
  readonly isNote?: boolean;
  /** The worst status of the period. */
  readonly severity: Severity;
  readonly openedAt: number;
  readonly closedAt?: number;
  /** True when the fault was present at the first observation: it may have started before `openedAt`. */
  readonly isStartUnknown?: boolean;
  /** Number of the change; with the id it identifies a notification. */
  readonly seq: number;
  readonly updates: readonly IncidentUpdate[];
}

/** A change to store and to notify. */
export interface IncidentChange {
  readonly kind: 'opened' | 'updated' | 'closed';
  readonly incident: Incident;
}

/** Incidents that are not closed. */
export const openIncidents = (incidents: readonly Incident[]): Incident[] =>
  incidents.filter(({ closedAt }) => closedAt === undefined);

/** Text and severity of a note. */
export interface NoteText {
  readonly text: string;
  readonly status: Severity;
  readonly madeBy?: IdempotentRequest;
}

/** Outcome of a write: `refused` without a leader, `outdated` when the note was changed since it was read. */
export type WriteOutcome = 'written' | 'refused' | 'outdated';

/** Opens a note. */
export const openIncidentNote = (
  id: string,
  { subject, status, ...entry }: NoteText & { readonly subject: string },
  now: number,
): IncidentChange => ({
  kind: 'opened',
  incident: {
    ...{ id, subject, isNote: true, severity: status, openedAt: now, seq: 1 },
    updates: [{ at: now, status, seen: [], ...entry }],
  },
});

/** Adds an update to a note, or closes it. */
export const updateIncidentNote = (
  note: Incident,
  { closes, ...entry }: Omit<NoteText, 'status'> & { readonly closes: boolean },
  now: number,
): IncidentChange => {
  const status: ServiceStatus = closes ? 'operational' : note.severity;
  const incident = extend(note, { at: now, status, seen: [], ...entry });
  return closes ? { kind: 'closed', incident: { ...incident, closedAt: now } } : { kind: 'updated', incident };
};

interface Condition {
  readonly status: ServiceStatus;
  /** First observation of the status. */
  readonly since: number;
  /** Time of the first evidence of the status, before `since`. */
  readonly startedAt: number;
  /** Time of the first evidence since which the subject has not been operational. */
  readonly failingSince: number | undefined;
  /** True until the first observed change of status. */
  readonly isFirst: boolean;
}

/** Opens, updates and closes incidents from snapshots. Every aggregator has a detector; the changes of the leader are written. */
export type IncidentDetector = ReturnType<typeof createIncidentDetector>;

const RANK: Readonly<Record<Severity, number>> = { degraded: 1, partial_outage: 2, major_outage: 3 };
const isSeverity = (status: ServiceStatus): status is Severity => status in RANK;

/** Creates a detector. `newId` returns unique ids; an outage of `afterMs` is an incident. */
export const createIncidentDetector = (newId: () => string, afterMs: number) => {
  const conditions = new Map<string, Condition>();
  const open = new Map<string, Incident>();

  const evaluate = (subject: Subject, now: number): IncidentChange | undefined => {
    const condition = nextCondition(conditions.get(subject.name), subject, now);
    conditions.set(subject.name, condition);
    const lastedMs = now - condition.since;
    const incident = open.get(subject.name);
    const observation: Observation = { ...subject, ...condition, lastedMs, now, afterMs };
    const change = incident ? updateIncident(incident, observation) : openIncident(observation, newId);
    if (change?.kind === 'closed') open.delete(subject.name);
    else if (change) open.set(subject.name, change.incident);
    return change;
  };

  return {
    /** Replaces the open incidents; the duration of conditions is kept. */
    adopt: (incidents: readonly Incident[]): void => {
      open.clear();
      for (const incident of incidents) if (!incident.isNote) open.set(incident.subject, incident);
    },
    /** Evaluates a snapshot, `now` in ms since the epoch; call it every second. */
    observe: (snapshot: FleetSnapshot, now: number): readonly IncidentChange[] =>
      subjectsOf(snapshot)
        .map((subject) => evaluate(subject, now))
        .filter((change) => change !== undefined),
  };
};

/** Status of a subject and its duration. */
interface Observation extends Subject {
  readonly lastedMs: number;
  readonly now: number;
  readonly afterMs: number;
  readonly isFirst: boolean;
  readonly startedAt: number;
  readonly failingSince: number | undefined;
}

/** `unknown` at the start is not an observation: the first status after it may be old. */
const nextCondition = (
  before: Condition | undefined,
  { status, forMs = 0 }: Pick<Subject, 'status' | 'forMs'>,
  now: number,
): Condition => {
  if (before?.status === status) return before;
  const isFirst = before === undefined || (before.isFirst && before.status === 'unknown');
  const startedAt = now - forMs;
  const failingSince = isSeverity(status) ? Math.min(before?.failingSince ?? now, startedAt) : undefined;
  return { status, since: now, startedAt, isFirst, failingSince };
};

const openIncident = (
  { name, status, seen, lastedMs, now, afterMs, isFirst, failingSince }: Observation,
  newId: () => string,
): IncidentChange | undefined => {
  // `unknown` neither opens nor closes an incident.
  if (!isSeverity(status)) return undefined;
  if (lastedMs < (status === 'degraded' ? DEGRADED_FACTOR * afterMs : afterMs)) return undefined;
  const incident: Incident = {
    id: newId(),
    subject: name,
    severity: status,
    openedAt: failingSince ?? now - lastedMs,
    ...(isFirst ? { isStartUnknown: true } : {}),
    seq: 1,
    updates: [{ at: now, status, seen }],
  };
  return { kind: 'opened', incident };
};

const updateIncident = (
  incident: Incident,
  { status, seen, lastedMs, startedAt, now, afterMs }: Observation,
): IncidentChange | undefined => {
  if (status === 'operational') {
    if (lastedMs < DEGRADED_FACTOR * afterMs) return undefined;
    const closedAt = Math.max(startedAt, incident.openedAt);
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
  /** ms since the first evidence of the status. */
  readonly forMs?: number | undefined;
}

/** Services and stores. A service that is degraded only by a failed store has no incident of its own. */
const subjectsOf = (snapshot: FleetSnapshot): readonly Subject[] => {
  const services = snapshot.services.map(({ service, status, instances }) => {
    const others = instances.filter(({ state }) => state !== 'up');
    const isExplained =
      status === 'degraded' && others.every(({ state, why }) => isCausedByStore(snapshot, state, why));
    return {
      name: service,
      status: isExplained && others.length > 0 ? ('unknown' as const) : status,
      seen: others.map(({ name, state, why }) => `${name} ${state} ${why}`),
      forMs: evidenceForMs(status, instances),
    };
  });
  const stores = Object.entries(snapshot.dependencies).map(([name, { status, reasons = [], forMs }]) => ({
    name,
    forMs,
    status: STATUS_OF_DEPENDENCY[status],
    seen: reasons,
  }));
  return [...services, ...stores];
};

/** ms since the first failed probe of the missing instances, or, after a recovery, since the last of them answered. */
export const evidenceForMs = (status: ServiceStatus, instances: readonly InstanceSnapshot[]): number | undefined => {
  const isFault = isSeverity(status);
  const times = instances
    .filter(({ state }) => (isFault ? state === 'suspect' || state === 'down' : state === 'up'))
    .flatMap(({ evidenceForMs: ms }) => (ms === undefined ? [] : [ms]));
  if (times.length === 0) return undefined;
  return isFault ? Math.max(...times) : Math.min(...times);
};

/** Instances report the session service as a dependency. */
const isCausedBySessionService = (snapshot: FleetSnapshot, why: string): boolean =>
  why === 'dependency_session_service' &&
  snapshot.services.some(({ service, status }) => service === 'session-service' && isSeverity(status));

const isCausedByStore = (snapshot: FleetSnapshot, state: string, why: string): boolean =>
  state === 'degraded' &&
  (isCausedBySessionService(snapshot, why) ||
    Object.entries(snapshot.dependencies).some(
      ([name, { status }]) =>
        status !== 'up' && (why === `dependency_${name}` || (name === 'database' && why === 'dependency_postgres')),
    ));

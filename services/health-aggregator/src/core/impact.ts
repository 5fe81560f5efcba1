import type { FleetSnapshot, InstanceSnapshot } from './fleet-snapshot.ts';
import { evidenceForMs } from './incidents.ts';
import type { ServiceStatus } from './status.ts';

/** What users cannot do, since when, and because of what. */
export interface Impact {
  /** A store, a service, or `synthetic-check`. */
  readonly subject: string;
  /** When the first check or probe failed, ISO 8601; it may have started earlier when the observer had just started. */
  readonly since: string;
  /** One sentence for people. */
  readonly users: string;
  /** Codes of the cause. */
  readonly reasons: readonly string[];
}

const STORES: Readonly<Record<string, string>> = {
  redis:
    'Messages are not delivered: publishing, subscribing, history and presence fail. Open connections stay, and people can sign in.',
  database:
    'Nobody can sign in or out, and sessions cannot be changed. People who are signed in go on, and messages are delivered.',
};

const PARTLY: Readonly<Record<string, string>> = {
  redis: 'For users of some instances messages are not delivered.',
  database: 'Sign-ins and changes of sessions fail for some users.',
};

/** An instance that cannot ask the session service, as it says itself. */
const isWithoutSessions = ({ state, why }: InstanceSnapshot): boolean =>
  state === 'degraded' && why === 'dependency_session_service';
const WITHOUT_SESSIONS =
  'Some clients cannot connect: gateways cannot ask the session service about sessions that Redis does not know. Open connections stay.';

const SERVICES: Readonly<Record<string, string>> = {
  'ws-gateway': 'Nobody can connect; messages are not delivered.',
  'session-service': 'Nobody can sign in or out. Connections of people who are signed in stay open.',
  'health-aggregator': 'Incidents are not recorded, and receivers of webhooks are not notified.',
};

/** Ages are rounded and travel; less than this is no earlier beginning. */
const TOLERANCE_MS = 250;

/** Since when each subject has been in trouble, by the clock of this observer. */
export class FailureClock {
  readonly #since = new Map<string, number>();

  /**
   * Takes whether a subject is in trouble now, and the beginning as far as it is known; undefined is not known, and changes
   * nothing. Answers since when, ms since epoch.
   */
  since(subject: string, isInTrouble: boolean | undefined, beganAt: number): number {
    const known = this.#since.get(subject);
    if (isInTrouble === false) this.#since.delete(subject);
    if (isInTrouble !== true) return known ?? beganAt;
    const since = known === undefined || beganAt < known - TOLERANCE_MS ? beganAt : known;
    this.#since.set(subject, since);
    return since;
  }
}

type Facts = Pick<FleetSnapshot, 'dependencies' | 'services' | 'journey'>;

/** What users cannot do now. Call it at least each second: times are those of the calls. */
export const impactOf = (view: Facts, clock: FailureClock, now: number): readonly Impact[] => {
  const judge = (
    subject: string,
    { status, forMs = 0 }: { readonly status: string; readonly forMs?: number | undefined },
    users: string | undefined,
    reasons: readonly string[],
  ) => {
    const isInTrouble = status === 'unknown' ? undefined : users !== undefined;
    const since = new Date(clock.since(subject, isInTrouble, now - forMs)).toISOString();
    return users === undefined ? [] : [{ subject, since, users, reasons }];
  };
  const stores = Object.entries(view.dependencies).flatMap(([name, { status, reasons = [], forMs }]) => {
    const users = status === 'down' ? STORES[name] : status === 'degraded' ? PARTLY[name] : undefined;
    return judge(name, { status, forMs }, users, reasons);
  });
  const services = view.services.flatMap(({ service, status, instances }) => {
    const missing = instances.filter(({ state }) => state === 'down');
    const cutOff = status === 'degraded' ? instances.filter(isWithoutSessions) : [];
    const users = cutOff.length > 0 ? WITHOUT_SESSIONS : serviceImpact(service, status);
    const causes = [...missing, ...cutOff].map(({ name, why }) => `${name} ${why}`);
    return judge(service, { status, forMs: evidenceForMs(status, instances) }, users, causes);
  });
  const { status = 'unknown', step } = view.journey ?? {};
  const check = status === 'failing' ? 'A test message does not arrive.' : undefined;
  return [
    ...stores,
    ...services,
    ...judge('synthetic-check', { status }, check, step === undefined ? [] : [step]),
  ];
};

const serviceImpact = (service: string, status: ServiceStatus): string | undefined => {
  if (status === 'major_outage') return SERVICES[service] ?? `Nobody can use ${service}.`;
  if (status !== 'partial_outage') return undefined;
  return service === 'ws-gateway'
    ? 'Connections of the missing gateways are lost, and their clients reconnect to others.'
    : `Fewer instances of ${service} serve than are expected; some requests may fail.`;
};

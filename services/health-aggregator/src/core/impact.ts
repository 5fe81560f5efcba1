import type { ServiceStatus } from './verdict.ts';
import type { FleetView } from './view.ts';

/** What users cannot do, since when, and because of what. */
export interface Impact {
  /** A store, a service, or `synthetic-check`. */
  readonly subject: string;
  /** When this observer first saw it, ISO 8601; it may have begun earlier when the observer had just started. */
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

const SERVICES: Readonly<Record<string, string>> = {
  'ws-gateway': 'Nobody can connect; messages are not delivered.',
  'session-service': 'Nobody can sign in or out. Connections of people who are signed in stay open.',
  'health-aggregator': 'Incidents are not recorded, and receivers of webhooks are not notified.',
};

/** Since when each subject has been in trouble, by the clock of this observer. */
export class TroubleClock {
  readonly #since = new Map<string, number>();

  /** Takes whether a subject is in trouble now; undefined is not known, and changes nothing. Answers since when, ms since epoch. */
  since(subject: string, isInTrouble: boolean | undefined, now: number): number {
    const known = this.#since.get(subject);
    if (isInTrouble === false) this.#since.delete(subject);
    if (isInTrouble === true && known === undefined) this.#since.set(subject, now);
    return known ?? now;
  }
}

type Facts = Pick<FleetView, 'dependencies' | 'services' | 'journey'>;

/** What users cannot do now. Call it at least each second: times are those of the calls. */
export const impactOf = (view: Facts, clock: TroubleClock, now: number): readonly Impact[] => {
  const judge = (subject: string, status: string, users: string | undefined, reasons: readonly string[]) => {
    const isInTrouble = status === 'unknown' ? undefined : users !== undefined;
    const since = new Date(clock.since(subject, isInTrouble, now)).toISOString();
    return users === undefined ? [] : [{ subject, since, users, reasons }];
  };
  const stores = Object.entries(view.dependencies).flatMap(([name, { status, reasons = [] }]) => {
    const users = status === 'down' ? STORES[name] : status === 'degraded' ? PARTLY[name] : undefined;
    return judge(name, status, users, reasons);
  });
  const services = view.services.flatMap(({ service, status, instances }) => {
    const missing = instances
      .filter(({ state }) => state === 'down')
      .map(({ name, why }) => `${name} ${why}`);
    return judge(service, status, serviceImpact(service, status), missing);
  });
  const { status = 'unknown', step } = view.journey ?? {};
  const check = status === 'failing' ? 'A test message does not arrive.' : undefined;
  return [
    ...stores,
    ...services,
    ...judge('synthetic-check', status, check, step === undefined ? [] : [step]),
  ];
};

const serviceImpact = (service: string, status: ServiceStatus): string | undefined => {
  if (status === 'major_outage') return SERVICES[service] ?? `Nobody can use ${service}.`;
  if (status !== 'partial_outage') return undefined;
  return service === 'ws-gateway'
    ? 'Connections of the missing gateways are lost, and their clients reconnect to others.'
    : `Fewer instances of ${service} serve than are expected; some requests may fail.`;
};

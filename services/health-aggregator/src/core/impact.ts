import type { FleetSnapshot, Impact, InstanceSnapshot } from './fleet-snapshot.ts';
import { evidenceForMs } from './incidents.ts';
import type { ServiceStatus } from './status.ts';

const STORE_FAULTS: Readonly<Record<string, string>> = {
  redis:
    'Messages are not delivered: publish, subscribe, history and presence fail. Open connections stay open, and users can sign in.',
  database:
    'Users cannot sign in or out, and sessions cannot be changed. Signed-in users stay connected, and messages are delivered.',
};

const PARTIAL_STORE_FAULTS: Readonly<Record<string, string>> = {
  redis: 'Messages are not delivered to users of some instances.',
  database: 'Sign-ins and session changes fail for some users.',
};

/** An instance that reports the session service as unreachable. */
const lacksSessionService = ({ state, why }: InstanceSnapshot): boolean =>
  state === 'degraded' && why === 'dependency_session_service';
const NO_SESSION_SERVICE =
  'Some clients cannot connect: gateways cannot reach the session service for sessions that are not in Redis. Open connections stay open.';

const SERVICE_FAULTS: Readonly<Record<string, string>> = {
  'ws-gateway': 'Clients cannot connect, and messages are not delivered.',
  'session-service': 'Users cannot sign in or out. Open connections stay open.',
  'health-aggregator': 'Incidents are not recorded, and webhooks are not sent.',
};

/** Ages are rounded and delayed; a smaller difference is not an earlier start. */
const TOLERANCE_MS = 250;

/** Start of the present failure of each subject, by the clock of this observer. */
export class FailureTimes {
  readonly #since = new Map<string, number>();

  /**
   * Records whether a subject fails, and the start by the present evidence. Undefined is unknown and changes nothing. Returns the
   * start of the failure, ms since the epoch.
   */
  record(subject: string, isFailing: boolean | undefined, startedAt: number): number {
    const known = this.#since.get(subject);
    if (isFailing === false) this.#since.delete(subject);
    if (isFailing !== true) return known ?? startedAt;
    const since = known === undefined || startedAt < known - TOLERANCE_MS ? startedAt : known;
    this.#since.set(subject, since);
    return since;
  }
}

type ImpactFacts = Pick<FleetSnapshot, 'dependencies' | 'services' | 'journey'>;

/** Present impact on users. Call it at least every second: start times are those of the calls. */
export const impactOf = (facts: ImpactFacts, times: FailureTimes, now: number): readonly Impact[] => {
  const impactsOf = (
    subject: string,
    { status, forMs = 0 }: { readonly status: string; readonly forMs?: number | undefined },
    users: string | undefined,
    reasons: readonly string[],
  ) => {
    const isFailing = status === 'unknown' ? undefined : users !== undefined;
    const since = new Date(times.record(subject, isFailing, now - forMs)).toISOString();
    return users === undefined ? [] : [{ subject, since, users, reasons }];
  };
  const stores = Object.entries(facts.dependencies).flatMap(([name, { status, reasons = [], forMs }]) => {
    const users =
      status === 'down' ? STORE_FAULTS[name] : status === 'degraded' ? PARTIAL_STORE_FAULTS[name] : undefined;
    return impactsOf(name, { status, forMs }, users, reasons);
  });
  const services = facts.services.flatMap(({ service, status, instances }) => {
    const down = instances.filter(({ state }) => state === 'down');
    const unserved = status === 'degraded' ? instances.filter(lacksSessionService) : [];
    const users = unserved.length > 0 ? NO_SESSION_SERVICE : serviceImpact(service, status);
    const causes = [...down, ...unserved].map(({ name, why }) => `${name} ${why}`);
    return impactsOf(service, { status, forMs: evidenceForMs(status, instances) }, users, causes);
  });
  const { status = 'unknown', step } = facts.journey ?? {};
  const check = status === 'failing' ? 'A test message is not delivered.' : undefined;
  return [...stores, ...services, ...impactsOf('synthetic-check', { status }, check, step === undefined ? [] : [step])];
};

const serviceImpact = (service: string, status: ServiceStatus): string | undefined => {
  if (status === 'major_outage') return SERVICE_FAULTS[service] ?? `${service} is not available.`;
  if (status !== 'partial_outage') return undefined;
  return service === 'ws-gateway'
    ? 'Connections to the failed gateways are lost; their clients reconnect to other gateways.'
    : `Fewer instances of ${service} than expected are serving; some requests may fail.`;
};

import { createSender } from '@muster/client/http';

/** Fleet as the aggregators report it. */
export interface FleetReport {
  /** `operational` when every service has its expected number of instances and every dependency works. */
  readonly status: string;
  /** Time of the freshest evidence, ISO 8601. */
  readonly asOf: string;
  /** Age of that evidence. */
  readonly ageMs: number;
  readonly dependencies: Readonly<Record<string, { readonly status: string; readonly reasons?: readonly string[] }>>;
  /** Last synthetic check; absent when none runs. */
  readonly journey?: { readonly status: string; readonly step?: string };
  readonly services: readonly ServiceReport[];
}

export interface ServiceReport {
  readonly service: string;
  readonly status: string;
  readonly instances: readonly InstanceReport[];
}

export interface InstanceReport {
  /** Identity of the process, new at each start. */
  readonly id: string;
  readonly name: string;
  readonly state: string;
  /** Code of the cause of the state. */
  readonly why: string;
  readonly version: string;
  /** ISO 8601. */
  readonly startedAt: string;
  /** ms since the transition to the state. */
  readonly forMs: number;
  /** Numbers of its last heartbeat, such as `connections`. */
  readonly load: Readonly<Record<string, number>>;
}

interface LocalProcess {
  readonly name: string;
  readonly pid: number;
}

/** The running fleet of `npm start`. */
export type LocalFleetFile = Readonly<Record<'publicUrl' | 'serviceApiKey' | 'serverApiKey' | 'opsToken', string>> &
  Readonly<Partial<Record<'sessionServices' | 'gateways' | 'healthAggregators', readonly LocalProcess[]>>>;

const STORE_NAMES: Readonly<Record<string, string>> = { redis: 'Redis', database: 'Postgres' };
/** For advice in an error message, which is also useful without it. */
const ADVICE_LIMITS = { timeoutMs: 1_000, retries: 0 };

/** Undefined when no aggregator answers. */
export const readFleet = async (
  url: string,
  limits: { readonly timeoutMs: number; readonly retries: number },
): Promise<FleetReport | undefined> => {
  const send = createSender({ baseUrl: url, ...limits }, { headers: {} });
  try {
    return (await send<FleetReport>({ method: 'GET', path: '/v1/fleet' })).body;
  } catch {
    return undefined;
  }
};

/** Names the stores that are down for the whole fleet; undefined when none is, or when no aggregator answers. */
export const adviceOnStores = async (url: string): Promise<string | undefined> => {
  const report = await readFleet(url, ADVICE_LIMITS);
  const down = report === undefined ? [] : storesThatAreDown(report);
  return down.length === 0 ? undefined : `${down.join(', ')}: check that first`;
};

/** A phrase for each store that is down for the whole fleet. */
export const storesThatAreDown = ({ dependencies = {} }: Pick<FleetReport, 'dependencies'>): string[] =>
  Object.entries(dependencies)
    .filter(([, { status }]) => status === 'down')
    .map(([name, { reasons = [] }]) => {
      const why = reasons.length === 0 ? '' : ` (${reasons.join(', ')})`;
      return `${STORE_NAMES[name] ?? name} cannot be used${why}`;
    });

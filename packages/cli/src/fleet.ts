import { createSender } from '@muster/client/http';

/** Fleet as the aggregators report it. */
export interface FleetReport {
  readonly dependencies: Readonly<Record<string, { readonly status: string; readonly reasons?: readonly string[] }>>;
  readonly services: readonly { readonly service: string; readonly instances: readonly Instance[] }[];
}

interface Instance {
  readonly name: string;
  readonly state: string;
  readonly why: string;
}

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
  const { dependencies = {} } = (await readFleet(url, ADVICE_LIMITS)) ?? {};
  const down = Object.entries(dependencies)
    .filter(([, { status }]) => status === 'down')
    .map(([name, { reasons = [] }]) => {
      const why = reasons.length === 0 ? '' : ` (${reasons.join(', ')})`;
      return `${STORE_NAMES[name] ?? name} cannot be used${why}`;
    });
  return down.length === 0 ? undefined : `${down.join(', ')}: check that first`;
};

import { createSender } from '@muster/client/http';

/** What the aggregators say about the fleet. */
export interface FleetReport {
  readonly dependencies: Readonly<
    Record<string, { readonly status: string; readonly reasons?: readonly string[] }>
  >;
  readonly services: readonly { readonly service: string; readonly instances: readonly Instance[] }[];
}

interface Instance {
  readonly name: string;
  readonly state: string;
  readonly why: string;
}

const STORE_NAMES: Readonly<Record<string, string>> = { redis: 'Redis', database: 'Postgres' };
/** The answer only improves a message; without it the message is still worth showing. */
const QUICK = { timeoutMs: 1_000, retries: 0 };

/** For a list that is not complete without it. */
const PATIENT = { timeoutMs: 2_000, retries: 1 };

/** Undefined when no aggregator answers. */
export const readFleet = async (
  url: string,
  patience: { readonly timeoutMs?: number; readonly retries?: number } = PATIENT,
): Promise<FleetReport | undefined> => {
  const send = createSender({ baseUrl: url, ...patience }, { headers: {} });
  try {
    return (await send<FleetReport>({ method: 'GET', path: '/v1/fleet' })).body;
  } catch {
    return undefined;
  }
};

/** Which stores are down for the whole fleet, and that they come first; undefined when none is, or nobody knows. */
export const adviceOnStores = async (url: string): Promise<string | undefined> => {
  const { dependencies = {} } = (await readFleet(url, QUICK)) ?? {};
  const down = Object.entries(dependencies)
    .filter(([, { status }]) => status === 'down')
    .map(([name, { reasons = [] }]) => {
      const why = reasons.length === 0 ? '' : ` (${reasons.join(', ')})`;
      return `${STORE_NAMES[name] ?? name} cannot be used${why}`;
    });
  return down.length === 0 ? undefined : `${down.join(', ')}: check that first`;
};

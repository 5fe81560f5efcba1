import type { InfoResult } from '@muster/protocol/server-api';
import type { Context } from './command.ts';
import { readFleet } from './fleet.ts';

/** Limits of a query without which the list is incomplete. */
const LIST_LIMITS = { timeoutMs: 2_000, retries: 1 };

/** Gateways that contributed to a list of the fleet. */
export interface RespondingGateways {
  readonly count: number;
  /** Names of gateways that may have clients and did not respond; undefined when no aggregator lists the gateways. */
  readonly missing: readonly string[] | undefined;
}

const SERVING = ['up', 'degraded', 'suspect', 'draining'];
/** Causes of the state `down` after which no process is left, and so no client. */
const DEAD = ['refused', 'reset'];

/** Compares the gateways that respond with those that the aggregators list. */
export const queryGateways = async ({ api, url }: Pick<Context, 'api' | 'url'>): Promise<RespondingGateways> => {
  const [{ nodes }, expected] = await Promise.all([api<InfoResult>('info', {}), expectedGateways(url)]);
  const responded = new Set(nodes.map(({ name }) => name));
  return { count: nodes.length, missing: expected?.filter((name) => !responded.has(name)) };
};

const expectedGateways = async (url: string): Promise<readonly string[] | undefined> =>
  (await readFleet(url, LIST_LIMITS))?.services
    .filter(({ service }) => service === 'ws-gateway')
    .flatMap(({ instances }) => instances)
    .filter(({ state, why }) => SERVING.includes(state) || (state === 'down' && !DEAD.includes(why)))
    .map(({ name }) => name);

/** One line about the completeness of a list. */
export const describeCoverage = ({ count, missing }: RespondingGateways): string => {
  const responded = `${count} ${count === 1 ? 'gateway' : 'gateways'} answered`;
  if (missing === undefined) return `${responded}; no aggregator answered, so others are unknown`;
  return missing.length === 0 ? responded : `${responded}; no answer from ${missing.join(', ')}`;
};

/** Prints a warning when gateways are missing from a list. True if so. */
export const warnOfMissingGateways = (
  { note }: Pick<Context, 'note'>,
  { missing = [] }: RespondingGateways,
): boolean => {
  if (missing.length === 0) return false;
  note(
    `muster: no answer from ${missing.join(', ')}: their part is unknown, not zero; see muster doctor and GET /health`,
  );
  return true;
};

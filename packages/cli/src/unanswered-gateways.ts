import type { InfoResult } from '@muster/protocol/server-api';
import type { Context } from './command.ts';
import { readFleet } from './fleet.ts';

/** Gateways that a list of the fleet was put together from. */
export interface AnsweredGateways {
  readonly gateways: number;
  /** Names of those that may have clients and did not answer; undefined when no aggregator tells which gateways there are. */
  readonly silent: readonly string[] | undefined;
}

const SERVING = ['up', 'degraded', 'suspect', 'draining'];
/** Causes of a fall after which there is no process any more, and so no client. */
const DEAD = ['refused', 'reset'];

/** Asks every gateway for its name, and the aggregators which gateways there are. */
export const queryGateways = async ({
  api,
  url,
}: Pick<Context, 'api' | 'url'>): Promise<AnsweredGateways> => {
  const [{ nodes }, expected] = await Promise.all([api<InfoResult>('info', {}), expectedGateways(url)]);
  const answered = new Set(nodes.map(({ name }) => name));
  return { gateways: nodes.length, silent: expected?.filter((name) => !answered.has(name)) };
};

/** Without an aggregator the list is still worth showing. */
const expectedGateways = async (url: string): Promise<readonly string[] | undefined> =>
  (await readFleet(url))?.services
    .filter(({ service }) => service === 'ws-gateway')
    .flatMap(({ instances }) => instances)
    .filter(({ state, why }) => SERVING.includes(state) || (state === 'down' && !DEAD.includes(why)))
    .map(({ name }) => name);

/** What a list is worth, in one line. */
export const printUnanswered = ({ gateways, silent }: AnsweredGateways): string => {
  const answered = `${gateways} ${gateways === 1 ? 'gateway' : 'gateways'} answered`;
  if (silent === undefined) return `${answered}; whether others exist is unknown, no aggregator answers`;
  return silent.length === 0 ? answered : `${answered}; ${silent.join(', ')} did not`;
};

/** Says so where something is missing from a list. True when something is. */
export const noteSilence = ({ note }: Pick<Context, 'note'>, { silent = [] }: AnsweredGateways): boolean => {
  if (silent.length === 0) return false;
  note(
    `muster: ${silent.join(', ')} did not answer: what is missing is unknown, not zero; muster doctor and GET /health tell more`,
  );
  return true;
};

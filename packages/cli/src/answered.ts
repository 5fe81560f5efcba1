import { createSender } from '@muster/client/http';
import type { Context } from './command.ts';

/** Gateways that a list of the fleet was put together from. */
export interface Answered {
  readonly gateways: number;
  /** Names of those that may have clients and did not answer; undefined when no aggregator tells which gateways there are. */
  readonly silent: readonly string[] | undefined;
}

interface Instance {
  readonly name: string;
  readonly state: string;
  readonly why: string;
}

interface FleetBody {
  readonly services: readonly { readonly service: string; readonly instances: readonly Instance[] }[];
}

const SERVING = ['up', 'degraded', 'suspect', 'draining'];
/** Causes of a fall after which there is no process any more, and so no client. */
const DEAD = ['refused', 'reset'];

/** Asks every gateway for its name, and the aggregators which gateways there are. */
export const askWhoAnswers = async ({ api, url }: Pick<Context, 'api' | 'url'>): Promise<Answered> => {
  const [{ nodes }, expected] = await Promise.all([
    api<{ nodes: readonly { name: string }[] }>('info', {}),
    expectedGateways(url),
  ]);
  const answered = new Set(nodes.map(({ name }) => name));
  return { gateways: nodes.length, silent: expected?.filter((name) => !answered.has(name)) };
};

const expectedGateways = async (url: string): Promise<readonly string[] | undefined> => {
  try {
    const { body } = await createSender(
      { baseUrl: url },
      { headers: {} },
    )<FleetBody>({
      method: 'GET',
      path: '/v1/fleet',
    });
    return body.services
      .filter(({ service }) => service === 'ws-gateway')
      .flatMap(({ instances }) => instances)
      .filter(({ state, why }) => SERVING.includes(state) || (state === 'down' && !DEAD.includes(why)))
      .map(({ name }) => name);
  } catch {
    // Without an aggregator the list is still worth showing.
    return undefined;
  }
};

/** What a list is worth, in one line. */
export const tellAnswered = ({ gateways, silent }: Answered): string => {
  const answered = `${gateways} ${gateways === 1 ? 'gateway' : 'gateways'} answered`;
  if (silent === undefined) return `${answered}; whether others exist is unknown, no aggregator answers`;
  return silent.length === 0 ? answered : `${answered}; ${silent.join(', ')} did not`;
};

/** Says so where something is missing from a list. True when something is. */
export const noteSilence = ({ note }: Pick<Context, 'note'>, { silent = [] }: Answered): boolean => {
  if (silent.length === 0) return false;
  note(
    `muster: ${silent.join(', ')} did not answer: what is missing is unknown, not zero; muster doctor and GET /health tell more`,
  );
  return true;
};

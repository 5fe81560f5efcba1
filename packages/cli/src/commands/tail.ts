import { createRealtime } from '@muster/client/realtime';
import { type CliCommand, type Context, onlyArgument, UsageError } from '../command.ts';
import { printable } from '../output.ts';
import { withTemporarySession } from '../temporary-session.ts';
import { describeWireError, textOf } from '../error-text.ts';

const MOST_KEPT = 1_000;
/** The close code for a session that does not count at the host of the request. */
const INVALID_TOKEN = 3500;
const HOST_ADVICE =
  '; sessions of a tenant with hosts (TENANT_HOSTS) count at these only: give one of them with --url';
/** Longest wait for the first subscription; later the command waits for as long as it takes. */
const FIRST_SUBSCRIPTION_MS = 5_000;

/** `muster tail` */
export const tail: CliCommand = {
  name: 'tail',
  usage: 'tail GROUP [--last N] [--count N] [--tenant ID]',
  summary:
    'show what is sent to a group; --last begins with N that are kept, --count ends after N, Ctrl-C at any time; a tenant with a host of its own is tailed with --url of that host',
  options: { count: { type: 'string' }, last: { type: 'string' }, tenant: { type: 'string' } },
  run: async (context) => {
    const group = onlyArgument(context, 'group');
    const count =
      context.option('count') === undefined ? Number.POSITIVE_INFINITY : numberOf(context, 'count');
    const last = context.option('last') === undefined ? 0 : numberOf(context, 'last');
    const allow = last > 0 ? (['subscribe', 'history'] as const) : (['subscribe'] as const);
    const grants = [{ groups: group, allow }];
    const tenant = context.option('tenant');
    return withTemporarySession(context, { label: 'muster tail', grants, tenant }, async ({ token }) => {
      const seen = await follow(context, { group, token, count, last });
      return { text: `${seen} seen`, json: undefined };
    });
  },
};

const numberOf = ({ option }: Context, name: 'count' | 'last'): number => {
  const value = Number(option(name));
  if (Number.isInteger(value) && value >= 1 && (name === 'count' || value <= MOST_KEPT)) return value;
  throw new UsageError(`--${name} is a number from 1 ${name === 'last' ? `to ${MOST_KEPT}` : 'on'}`);
};

interface Following {
  readonly group: string;
  readonly token: string;
  readonly count: number;
  /** Kept publications to begin with. */
  readonly last: number;
}

interface Publication {
  readonly data: unknown;
  readonly offset?: number | undefined;
  readonly info?: { readonly user?: string } | undefined;
}

/** Resolves with how many were seen, when that is enough or the caller wants no more; rejects when it may not listen. */
const follow = async (context: Context, { group, token, count, last }: Following): Promise<number> => {
  const { url, interruption, note } = context;
  const client = createRealtime({ baseUrl: url, token });
  const subscription = client.newSubscription(group);
  const ended = Promise.withResolvers<void>();
  let seen = 0;
  const show = (publication: Publication): void => {
    if (seen >= count) return;
    seen += 1;
    sayPublication(context, group, publication);
    if (seen >= count) ended.resolve();
  };
  // Publications that come while the kept ones are being read wait for their turn.
  let waiting: Publication[] | undefined = last > 0 ? [] : undefined;
  const beginWithKept = async (): Promise<void> => {
    const { publications } = await subscription.history({ limit: last, reverse: true });
    const kept = publications.toReversed();
    const newest = kept.at(-1)?.offset ?? 0;
    const later = (waiting ?? []).filter(({ offset }) => offset === undefined || offset > newest);
    waiting = undefined;
    for (const publication of [...kept, ...later]) show(publication);
  };
  subscription.on('publication', (publication) => {
    if (waiting === undefined) show(publication);
    else waiting.push(publication);
  });
  subscription.on('subscribed', ({ wasRecovering, recovered }) => {
    clearTimeout(patience);
    if (waiting !== undefined) beginWithKept().catch((error) => ended.reject(refusal(error)));
    note(wasRecovering && !recovered ? `${group}: something was missed here` : `listening to ${group}`);
  });
  const refusal = (error: unknown) => new Error(`${group}: ${textOf(error)}`);
  const fail = (thing: string) => (event: { readonly code: number; readonly reason: string }) =>
    ended.reject(new Error(describeWireError(thing, { code: event.code, message: event.reason })));
  subscription.on('unsubscribed', fail(group));
  client.on('disconnected', (event) => {
    const advice = event.code === INVALID_TOKEN ? HOST_ADVICE : '';
    const text = describeWireError(`the connection to ${new URL(url).host} was closed`, {
      code: event.code,
      message: event.reason,
    });
    ended.reject(new Error(text + advice));
  });
  client.on('connecting', ({ code, reason }) => {
    if (code > 0) note(`connection lost (${reason}), trying again`);
  });
  // Errors of single tries; the SDK goes on trying, which is right once it has been connected.
  let lastError = { code: 1, message: 'nothing came in time' };
  const keep = ({ error }: { readonly error: { readonly code: number; readonly message: string } }): void => {
    lastError = error;
  };
  client.on('error', keep);
  subscription.on('error', keep);
  const patience = setTimeout(
    () =>
      ended.reject(
        new Error(describeWireError(`${group} at ${new URL(url).host} cannot be subscribed to`, lastError)),
      ),
    FIRST_SUBSCRIPTION_MS,
  );
  interruption().addEventListener('abort', () => ended.resolve(), { once: true });
  subscription.subscribe();
  client.connect();
  try {
    await ended.promise;
  } finally {
    clearTimeout(patience);
    client.removeAllListeners();
    subscription.removeAllListeners();
    client.disconnect();
  }
  return seen;
};

const sayPublication = (
  { say, isSet }: Context,
  group: string,
  { data, offset, info }: Publication,
): void => {
  const at = new Date().toISOString();
  const user = info?.user ?? '';
  say(
    isSet('json')
      ? JSON.stringify({ at, group, offset, user, data })
      : printable(`${at.slice(11, 23)}  ${user || '(server)'}  ${JSON.stringify(data)}`),
  );
};

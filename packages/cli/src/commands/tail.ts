import { createRealtime } from '@muster/client/realtime';
import { type CliCommand, type Context, integerOption, onlyArgument } from '../command.ts';
import { describeError, describeWireError } from '../error-text.ts';
import { printable } from '../output.ts';
import { withTemporarySession } from '../temporary-session.ts';

const MAX_HISTORY = 1_000;
/** Close code for a session of another tenant than that of the host. */
const INVALID_TOKEN = 3500;
const HOST_ADVICE = '; a tenant with hosts (TENANT_HOSTS) is reached only there: set --url to one of them';
/** Time limit of the first subscription; later reconnects have none. */
const FIRST_SUBSCRIPTION_MS = 5_000;

/** `muster tail` */
export const tail: CliCommand = {
  name: 'tail',
  usage: 'tail GROUP [--last N] [--count N] [--tenant ID]',
  summary:
    'print publications of a group until Ctrl-C; --last N starts with N from the history, --count N stops after N; for a tenant with hosts set --url to one of them',
  options: { count: { type: 'string' }, last: { type: 'string' }, tenant: { type: 'string' } },
  run: async (context) => {
    const group = onlyArgument(context, 'group');
    const count = integerOption(context, 'count', { fallback: Number.POSITIVE_INFINITY });
    const last = integerOption(context, 'last', { fallback: 0, max: MAX_HISTORY });
    const allow = last > 0 ? (['subscribe', 'history'] as const) : (['subscribe'] as const);
    const grants = [{ groups: group, allow }];
    const tenant = context.option('tenant');
    return withTemporarySession(context, { label: 'muster tail', grants, tenant }, async ({ token }) => {
      const seen = await follow(context, { group, token, count, last });
      return { text: `${seen} received`, json: undefined };
    });
  },
};

interface Following {
  readonly group: string;
  readonly token: string;
  readonly count: number;
  /** Publications of the history that are printed first. */
  readonly last: number;
}

interface Publication {
  readonly data: unknown;
  readonly offset?: number | undefined;
  readonly info?: { readonly user?: string } | undefined;
}

/** Resolves with the number of publications after `count` of them or an interruption; rejects when the subscription fails. */
const follow = async (context: Context, { group, token, count, last }: Following): Promise<number> => {
  const { url, interruption, note } = context;
  const client = createRealtime({ baseUrl: url, token });
  const subscription = client.newSubscription(group);
  const ended = Promise.withResolvers<void>();
  let seen = 0;
  const show = (publication: Publication): void => {
    if (seen >= count) return;
    seen += 1;
    printPublication(context, group, publication);
    if (seen >= count) ended.resolve();
  };
  // Publications that arrive while the history is read are queued.
  let queued: Publication[] | undefined = last > 0 ? [] : undefined;
  const printHistory = async (): Promise<void> => {
    const { publications } = await subscription.history({ limit: last, reverse: true });
    const oldestFirst = publications.toReversed();
    const newest = oldestFirst.at(-1)?.offset ?? 0;
    const later = (queued ?? []).filter(({ offset }) => offset === undefined || offset > newest);
    queued = undefined;
    for (const publication of [...oldestFirst, ...later]) show(publication);
  };
  subscription.on('publication', (publication) => {
    if (queued === undefined) show(publication);
    else queued.push(publication);
  });
  subscription.on('subscribed', ({ wasRecovering, recovered }) => {
    clearTimeout(timer);
    if (queued !== undefined) printHistory().catch((error) => ended.reject(failure(error)));
    note(wasRecovering && !recovered ? `${group}: publications were lost here` : `listening to ${group}`);
  });
  const failure = (error: unknown) => new Error(`${group}: ${describeError(error)}`);
  const fail = (thing: string) => (event: { readonly code: number; readonly reason: string }) =>
    ended.reject(new Error(describeWireError(thing, { code: event.code, message: event.reason })));
  subscription.on('unsubscribed', fail(group));
  client.on('disconnected', (event) => {
    const text = describeWireError(`the connection to ${new URL(url).host} was closed`, {
      code: event.code,
      message: event.reason,
    });
    ended.reject(new Error(event.code === INVALID_TOKEN ? text + HOST_ADVICE : text));
  });
  client.on('connecting', ({ code, reason }) => {
    if (code > 0) note(`connection lost (${reason}), reconnecting`);
  });
  // Errors of single attempts; the SDK keeps reconnecting.
  let lastError = { code: 1, message: 'timeout' };
  const recordError = ({ error }: { readonly error: { readonly code: number; readonly message: string } }): void => {
    lastError = error;
  };
  client.on('error', recordError);
  subscription.on('error', recordError);
  const timer = setTimeout(
    () =>
      ended.reject(new Error(describeWireError(`${group} at ${new URL(url).host} cannot be subscribed to`, lastError))),
    FIRST_SUBSCRIPTION_MS,
  );
  interruption().addEventListener('abort', () => ended.resolve(), { once: true });
  subscription.subscribe();
  client.connect();
  try {
    await ended.promise;
  } finally {
    clearTimeout(timer);
    client.removeAllListeners();
    subscription.removeAllListeners();
    client.disconnect();
  }
  return seen;
};

const printPublication = ({ print, isSet }: Context, group: string, { data, offset, info }: Publication): void => {
  const at = new Date().toISOString();
  const user = info?.user ?? '';
  print(
    isSet('json')
      ? JSON.stringify({ at, group, offset, user, data })
      : printable(`${at.slice(11, 23)}  ${user || '(server)'}  ${JSON.stringify(data)}`),
  );
};

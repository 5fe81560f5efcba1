import { createRealtime } from '@muster/client/realtime';
import type { OpenedSession } from '@muster/client/session-types';
import { type Command, type Context, onlyArgument, UsageError } from '../command.ts';
import { printable } from '../table.ts';

const USER = 'muster-cli';

/** `muster tail` */
export const tail: Command = {
  name: 'tail',
  usage: 'tail GROUP [--count N]',
  summary: 'show what is sent to a group, as it comes; --count ends after N, Ctrl-C at any time',
  options: { count: { type: 'string' } },
  run: async (context) => {
    const group = onlyArgument(context, 'group');
    const count = Number(context.option('count') ?? Number.POSITIVE_INFINITY);
    if (!(count >= 1)) throw new UsageError('--count is a number from 1 on');
    const { body: session } = await context.send<OpenedSession>({
      method: 'POST',
      path: '/v1/sessions',
      idempotencyKey: true,
      body: {
        user_id: USER,
        transport: 'bearer',
        remember: false,
        label: 'muster tail',
        grants: [{ groups: group, allow: ['subscribe'] }],
      },
    });
    try {
      const seen = await follow(context, { group, token: session.token ?? '', count });
      return { text: `${seen} seen`, json: undefined };
    } finally {
      await context.send({ method: 'DELETE', path: `/v1/sessions/${session.id}` });
    }
  },
};

interface Following {
  readonly group: string;
  readonly token: string;
  readonly count: number;
}

/** Resolves with how many were seen, when that is enough or the caller wants no more; rejects when it may not listen. */
const follow = async (
  { url, interruption, say, note, isSet }: Context,
  { group, token, count }: Following,
): Promise<number> => {
  const client = createRealtime({ baseUrl: url, token });
  const subscription = client.newSubscription(group);
  const ended = Promise.withResolvers<void>();
  let seen = 0;
  subscription.on('publication', ({ data, offset, info }) => {
    if (seen >= count) return;
    seen += 1;
    const at = new Date().toISOString();
    const user = info?.user ?? '';
    say(
      isSet('json')
        ? JSON.stringify({ at, group, offset, user, data })
        : printable(`${at.slice(11, 23)}  ${user || '(server)'}  ${JSON.stringify(data)}`),
    );
    if (seen >= count) ended.resolve();
  });
  subscription.on('subscribed', ({ wasRecovering, recovered }) => {
    note(wasRecovering && !recovered ? `${group}: something was missed here` : `listening to ${group}`);
  });
  subscription.on('unsubscribed', ({ code, reason }) =>
    ended.reject(new Error(`${group}: ${reason} [${code}]`)),
  );
  client.on('disconnected', ({ code, reason }) => ended.reject(new Error(`signed out: ${reason} [${code}]`)));
  client.on('connecting', ({ code, reason }) => {
    if (code > 0) note(`connection lost (${reason}), trying again`);
  });
  interruption().addEventListener('abort', () => ended.resolve(), { once: true });
  subscription.subscribe();
  client.connect();
  try {
    await ended.promise;
  } finally {
    client.removeAllListeners();
    subscription.removeAllListeners();
    client.disconnect();
  }
  return seen;
};

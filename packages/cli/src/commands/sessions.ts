import type { Send } from '@muster/client/http';
import { nameSegment } from '@muster/client/paths';
import type { Page, Session } from '@muster/client/session-types';
import { isOwnUser } from '@muster/protocol/ids';
import { type CliCommand, onlyId, segment, UsageError } from '../command.ts';
import { instant, table } from '../output.ts';

const MOST = 100;
/** Sessions that are not shown may stand before those that are; further back than this nobody looks. */
const MOST_PAGES = 20;
const STATES = ['live', 'ended', 'all'];

/** `muster sessions list` */
export const sessionsList: CliCommand = {
  name: 'sessions list',
  usage: 'sessions list [--user ID] [--tenant ID] [--state live|ended|all] [--limit N] [--all]',
  summary: 'who is signed in, newest first; --all also shows the sessions of the fleet itself',
  options: {
    user: { type: 'string' },
    tenant: { type: 'string' },
    state: { type: 'string' },
    limit: { type: 'string' },
    all: { type: 'boolean' },
  },
  run: async ({ send, option, isSet }) => {
    const state = option('state') ?? 'live';
    if (!STATES.includes(state)) throw new UsageError(`--state is one of ${STATES.join(', ')}`);
    const limit = Number(option('limit') ?? 20);
    if (!Number.isInteger(limit) || limit < 1 || limit > MOST)
      throw new UsageError(`--limit is a number from 1 to ${MOST}`);
    const showsAll = isSet('all') || option('user') !== undefined;
    const query = { user_id: option('user'), tenant: option('tenant'), state };
    const { found, isComplete } = await findSessions(send, query, { enough: limit + 1, showsAll });
    const items = found.slice(0, limit);
    const text = items.length === 0 ? 'no sessions' : listOf(items);
    return { text: text + remarkOn(found.length > limit, isComplete), json: items };
  },
};

const remarkOn = (hasMore: boolean, isComplete: boolean): string => {
  if (hasMore) return `\n(there are more; --limit shows up to ${MOST})`;
  return isComplete ? '' : `\n(among the newest ${MOST_PAGES * MOST}; --user and --all show others)`;
};

/** Asks page by page until enough are found that may be shown. */
const findSessions = async (
  send: Send,
  about: {
    readonly user_id: string | undefined;
    /** Default: that of the API key, else `default`. */
    readonly tenant: string | undefined;
    readonly state: string;
  },
  { enough, showsAll }: { readonly enough: number; readonly showsAll: boolean },
): Promise<{ readonly found: readonly Session[]; readonly isComplete: boolean }> => {
  const found: Session[] = [];
  let cursor: string | undefined;
  for (let page = 1; page <= MOST_PAGES; page += 1) {
    const query = { ...about, cursor, limit: showsAll ? Math.min(enough, MOST) : MOST };
    const { body } = await send<Page<Session>>({ method: 'GET', path: '/v1/sessions', query });
    found.push(...body.items.filter((one) => showsAll || !isOwnUser(one.user_id)));
    if (found.length >= enough || body.next === null) return { found, isComplete: body.next === null };
    cursor = body.next;
  }
  return { found, isComplete: false };
};

/** `muster sessions show` */
export const sessionsShow: CliCommand = {
  name: 'sessions show',
  usage: 'sessions show SESSION_ID',
  summary: 'everything about one session',
  options: {},
  run: async (context) => {
    const id = onlyId(context, 'session id');
    const { body } = await context.send<Session>({
      method: 'GET',
      path: `/v1/sessions/${id}`,
    });
    return { text: factsOf(body), json: body };
  },
};

/** `muster sessions end` */
export const sessionsEnd: CliCommand = {
  name: 'sessions end',
  usage: 'sessions end SESSION_ID | --user ID [--tenant ID]',
  summary: 'sign a device out, or a user everywhere; sockets are closed at once',
  options: { user: { type: 'string' }, tenant: { type: 'string' } },
  run: async (context) => {
    const [user, tenant] = [context.option('user'), context.option('tenant')];
    if (user === undefined) {
      if (tenant !== undefined)
        throw new UsageError('--tenant goes with --user: a session id is unique in all tenants');
      const id = onlyId(context, 'session id');
      const { status } = await context.send({
        method: 'DELETE',
        path: `/v1/sessions/${id}`,
      });
      return saidEnded(1, status === 202 ? 'pending' : 'done');
    }
    if (context.positionals.length > 0) throw new UsageError('a session id or --user, not both');
    const path = `/v1/users/${segment(() => nameSegment('--user', user))}/sessions`;
    const { body } = await context.send<{ ended: number; propagation: string }>({
      method: 'DELETE',
      path,
      query: { tenant },
    });
    return saidEnded(body.ended, body.propagation);
  },
};

const saidEnded = (count: number, propagation: string) => ({
  text:
    propagation === 'pending'
      ? `${count} ended; the gateways hear of it as soon as Redis is back`
      : `${count} ended, and every gateway knows`,
  json: { ended: count, propagation },
});

const listOf = (sessions: readonly Session[]): string =>
  table(
    ['SESSION', 'USER', 'DEVICE', 'SEEN', 'STATE'],
    sessions.map((one) => [
      one.id,
      (one.user_id ?? '(guest)') + (one.tenant === 'default' ? '' : ` (${one.tenant})`),
      one.label ?? one.client.summary ?? one.client.kind,
      instant(one.last_seen_at),
      one.ended_at === null ? 'live' : (one.end_reason ?? 'ended'),
    ]),
  );

const factsOf = (one: Session): string =>
  table(
    ['', ''],
    [
      ['session', one.id],
      ['user', one.user_id ?? '(guest)'],
      ['tenant', one.tenant],
      ['label', one.label ?? '–'],
      ['client', one.client.summary ?? one.client.kind],
      ['address', one.last_ip ?? one.ip ?? '–'],
      ['assurance', `level ${one.auth.aal}${one.auth.amr.length > 0 ? ` (${one.auth.amr.join(', ')})` : ''}`],
      ['created', instant(one.created_at)],
      ['last seen', instant(one.last_seen_at)],
      ['idle until', instant(one.idle_expires_at)],
      ['expires', instant(one.expires_at)],
      ['ended', one.ended_at === null ? '–' : `${instant(one.ended_at)} (${one.end_reason})`],
      ['grants', one.grants.map(({ groups, allow }) => `${groups} (${allow.join(', ')})`).join(' ') || '–'],
      ['data', JSON.stringify(one.data ?? {})],
    ],
  ).trimStart();

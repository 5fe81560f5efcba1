import type { Send } from '@muster/client/http';
import { nameSegment } from '@muster/client/paths';
import type { Page, Session } from '@muster/client/session-types';
import { isOwnUser } from '@muster/protocol/ids';
import { type CliCommand, integerOption, onlyId, segment, UsageError } from '../command.ts';
import { instant, table } from '../output.ts';

const MAX_LIMIT = 100;
/** Pages that are searched for sessions other than those of the fleet's own tools. */
const MAX_PAGES = 20;
const STATES = ['live', 'ended', 'all'];

/** `muster sessions list` */
export const sessionsList: CliCommand = {
  name: 'sessions list',
  usage: 'sessions list [--user ID] [--tenant ID] [--state live|ended|all] [--limit N] [--all]',
  summary: 'list sessions, newest first; --all includes those that the fleet opens for itself',
  options: {
    user: { type: 'string' },
    tenant: { type: 'string' },
    state: { type: 'string' },
    limit: { type: 'string' },
    all: { type: 'boolean' },
  },
  run: async (context) => {
    const { send, option, isSet } = context;
    const state = option('state') ?? 'live';
    if (!STATES.includes(state)) throw new UsageError(`--state: expected one of ${STATES.join(', ')}`);
    const limit = integerOption(context, 'limit', { fallback: 20, max: MAX_LIMIT });
    const showsAll = isSet('all') || option('user') !== undefined;
    const query = { user_id: option('user'), tenant: option('tenant'), state };
    const { found, isComplete } = await findSessions(send, query, { enough: limit + 1, showsAll });
    const items = found.slice(0, limit);
    const text = items.length === 0 ? 'no sessions' : listOf(items);
    return { text: text + remarkOn(found.length > limit, isComplete), json: items };
  },
};

const remarkOn = (hasMore: boolean, isComplete: boolean): string => {
  if (hasMore) return `\n(there are more; --limit lists up to ${MAX_LIMIT})`;
  return isComplete ? '' : `\n(among the newest ${MAX_PAGES * MAX_LIMIT}; --user and --all list others)`;
};

/** Reads page by page until enough sessions match. */
const findSessions = async (
  send: Send,
  about: {
    readonly user_id: string | undefined;
    /** Default: the tenant of the API key, else `default`. */
    readonly tenant: string | undefined;
    readonly state: string;
  },
  { enough, showsAll }: { readonly enough: number; readonly showsAll: boolean },
): Promise<{ readonly found: readonly Session[]; readonly isComplete: boolean }> => {
  const found: Session[] = [];
  let cursor: string | undefined;
  for (let page = 1; page <= MAX_PAGES; page += 1) {
    const query = { ...about, cursor, limit: showsAll ? Math.min(enough, MAX_LIMIT) : MAX_LIMIT };
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
  summary: 'show all fields of a session',
  options: {},
  run: async (context) => {
    const id = onlyId(context, 'session id');
    const { body } = await context.send<Session>({ method: 'GET', path: `/v1/sessions/${id}` });
    return { text: detailsOf(body), json: body };
  },
};

/** `muster sessions end` */
export const sessionsEnd: CliCommand = {
  name: 'sessions end',
  usage: 'sessions end SESSION_ID | --user ID [--tenant ID]',
  summary: 'end a session, or all sessions of a user; their connections are closed at once',
  options: { user: { type: 'string' }, tenant: { type: 'string' } },
  run: async (context) => {
    const [user, tenant] = [context.option('user'), context.option('tenant')];
    if (user === undefined) {
      if (tenant !== undefined) throw new UsageError('--tenant requires --user: a session id is unique across tenants');
      const id = onlyId(context, 'session id');
      const { status } = await context.send({ method: 'DELETE', path: `/v1/sessions/${id}` });
      return endedResult(1, status === 202 ? 'pending' : 'done');
    }
    if (context.positionals.length > 0) throw new UsageError('expected a session id or --user, got both');
    const path = `/v1/users/${segment(() => nameSegment('--user', user))}/sessions`;
    const { body } = await context.send<{ ended: number; propagation: string }>({
      method: 'DELETE',
      path,
      query: { tenant },
    });
    return endedResult(body.ended, body.propagation);
  },
};

const endedResult = (count: number, propagation: string) => ({
  text:
    propagation === 'pending'
      ? `${count} ended; gateways are notified when Redis is available again`
      : `${count} ended; every gateway was notified`,
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

const detailsOf = (one: Session): string =>
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

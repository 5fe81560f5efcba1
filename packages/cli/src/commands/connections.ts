import type { ConnectionInfo, ConnectionsResult } from '@muster/protocol/server-api';
import { type CliCommand, UsageError } from '../command.ts';
import { instant, table } from '../output.ts';
import { noteSilence, printUnanswered, queryGateways } from '../unanswered-gateways.ts';

const MOST = 10_000;

/** `muster connections` */
export const connections: CliCommand = {
  name: 'connections',
  usage: 'connections [--user ID] [--session ID] [--group NAME] [--tenant ID]',
  summary:
    'open sockets: whose, where, in which groups, and how far behind, 100 unless --limit N; --tenant * shows all tenants; exit code 1 when a gateway did not answer',
  options: {
    user: { type: 'string' },
    session: { type: 'string' },
    group: { type: 'string' },
    limit: { type: 'string' },
    tenant: { type: 'string' },
  },
  run: async (context) => {
    const { api, option } = context;
    const limit = Number(option('limit') ?? 100);
    if (!Number.isInteger(limit) || limit < 1 || limit > MOST)
      throw new UsageError(`--limit is a number from 1 to ${MOST}`);
    const query = {
      user: option('user') ?? '',
      session: option('session') ?? '',
      channel: option('group') ?? '',
      limit,
      // A key of a tenant shows that one.
      tenant: option('tenant') ?? '',
    };
    const [{ connections: found }, answered] = await Promise.all([
      api<ConnectionsResult>('connections', query),
      queryGateways(context),
    ]);
    const more = found.length === limit ? `; --limit shows up to ${MOST}` : '';
    const isBad = noteSilence(context, answered);
    const none = isBad ? 'connections: unknown' : 'no connections';
    const text = found.length === 0 ? none : listOf(found);
    return { text: `${text}\n(${printUnanswered(answered)}${more})`, json: found, isBad };
  },
};

const listOf = (found: readonly ConnectionInfo[]): string =>
  table(
    ['CLIENT', 'USER', 'SESSION', 'GATEWAY', 'SINCE', 'LAG', 'GROUPS'],
    found.map((one) => [
      one.client,
      (one.user || '(guest)') + (one.tenant === 'default' ? '' : ` (${one.tenant})`),
      one.session || '–',
      one.gateway,
      instant(new Date(one.since).toISOString()),
      one.lag === 0 ? '–' : `${one.lag} B`,
      one.groups.join(' ') || '–',
    ]),
  );

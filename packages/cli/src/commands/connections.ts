import type { ConnectionInfo, ConnectionsResult } from '@muster/protocol/server-api';
import { type CliCommand, integerOption } from '../command.ts';
import { instant, table } from '../output.ts';
import { describeCoverage, queryGateways, warnOfMissingGateways } from '../responding-gateways.ts';

const MAX_LIMIT = 10_000;

/** `muster connections` */
export const connections: CliCommand = {
  name: 'connections',
  usage: 'connections [--user ID] [--session ID] [--group NAME] [--tenant ID]',
  summary:
    'list open connections with user, gateway, groups and send buffer; --limit N (default 100); --tenant * lists all tenants; exit code 1 when a gateway does not answer',
  options: {
    user: { type: 'string' },
    session: { type: 'string' },
    group: { type: 'string' },
    limit: { type: 'string' },
    tenant: { type: 'string' },
  },
  run: async (context) => {
    const { api, option } = context;
    const limit = integerOption(context, 'limit', { fallback: 100, max: MAX_LIMIT });
    const query = {
      user: option('user') ?? '',
      session: option('session') ?? '',
      channel: option('group') ?? '',
      limit,
      tenant: option('tenant') ?? '',
    };
    const [{ connections: found }, responding] = await Promise.all([
      api<ConnectionsResult>('connections', query),
      queryGateways(context),
    ]);
    const more = found.length === limit ? `; --limit lists up to ${MAX_LIMIT}` : '';
    const isBad = warnOfMissingGateways(context, responding);
    const none = isBad ? 'connections: unknown' : 'no connections';
    const text = found.length === 0 ? none : listOf(found);
    return { text: `${text}\n(${describeCoverage(responding)}${more})`, json: found, isBad };
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

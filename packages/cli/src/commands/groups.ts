import type { ChannelsResult } from '@muster/protocol/server-api';
import { type CliCommand, onlyArgument, UsageError } from '../command.ts';
import { table } from '../output.ts';
import { describeCoverage, queryGateways, warnOfMissingGateways } from '../responding-gateways.ts';

/** Rows of a table; --json has no limit. */
const MOST_SHOWN = 1_000;

/** `muster groups` */
export const groups: CliCommand = {
  name: 'groups',
  usage: 'groups [PATTERN] [--tenant ID]',
  summary:
    'list groups with their number of members; PATTERN may contain * and ?; --tenant * lists all tenants; exit code 1 when a gateway does not answer',
  options: { tenant: { type: 'string' } },
  run: async (context) => {
    const pattern = context.positionals.length === 0 ? '' : onlyArgument(context, 'pattern');
    const [result, responding] = await Promise.all([
      context.api<ChannelsResult>('channels', { pattern, tenant: context.option('tenant') ?? '' }),
      queryGateways(context),
    ]);
    const rows = rowsOf(result);
    const isByTenant = rows.some(({ tenant }) => tenant !== undefined);
    const shown = rows
      .slice(0, MOST_SHOWN)
      .map(({ group, tenant = '', members }) => [group, ...(isByTenant ? [tenant] : []), String(members)]);
    const more = rows.length > MOST_SHOWN ? `\n(and ${rows.length - MOST_SHOWN} more; --json lists all)` : '';
    const isBad = warnOfMissingGateways(context, responding);
    const none = isBad ? 'groups: unknown' : 'no groups';
    const list =
      rows.length === 0 ? none : table(['GROUP', ...(isByTenant ? ['TENANT'] : []), 'MEMBERS'], shown) + more;
    return { text: `${list}\n(${describeCoverage(responding)})`, json: rows, isBad };
  },
};

interface GroupRow {
  readonly group: string;
  /** Present in a list of all tenants. */
  readonly tenant?: string;
  readonly members: number;
}

/** Rows by descending number of members, then by name. */
const rowsOf = ({ channels }: ChannelsResult): GroupRow[] =>
  Object.entries(channels)
    .flatMap(([group, { num_clients: members, tenants }]): GroupRow[] =>
      tenants === undefined
        ? [{ group, members }]
        : Object.entries(tenants).map(([tenant, count]) => ({ group, tenant, members: count })),
    )
    .sort((a, b) => b.members - a.members || a.group.localeCompare(b.group));

/** `muster publish` */
export const publish: CliCommand = {
  name: 'publish',
  usage: 'publish GROUP DATA [--idempotency KEY] [--tenant ID]',
  summary: 'publish DATA to a group; text that is not JSON is sent as a JSON string',
  options: { idempotency: { type: 'string' }, tenant: { type: 'string' } },
  run: async ({ api, positionals, option }) => {
    const [group, data, ...more] = positionals;
    if (group === undefined || data === undefined) throw new UsageError('expected a group and data');
    if (more.length > 0) throw new UsageError('expected data as one argument: quote it');
    const key = option('idempotency');
    const position = await api<{ offset?: number; epoch?: string }>('publish', {
      channel: group,
      data: jsonOf(data),
      tenant: option('tenant') ?? '',
      ...(key === undefined ? {} : { idempotency_key: key }),
    });
    const kept = position.offset === undefined ? 'sent' : `sent as ${position.offset} of epoch ${position.epoch}`;
    return { text: kept, json: position };
  },
};

const jsonOf = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
};

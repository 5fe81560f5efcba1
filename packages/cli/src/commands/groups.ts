import type { ChannelsResult } from '@muster/protocol/server-api';
import { type CliCommand, onlyArgument, UsageError } from '../command.ts';
import { table } from '../output.ts';
import { noteSilence, printUnanswered, queryGateways } from '../unanswered-gateways.ts';

/** Lists longer than this are for scripts. */
const MOST_SHOWN = 1_000;

/** `muster groups` */
export const groups: CliCommand = {
  name: 'groups',
  usage: 'groups [PATTERN] [--tenant ID]',
  summary:
    'groups with members, and how many; PATTERN takes * and ?; --tenant * shows all tenants; exit code 1 when a gateway did not answer',
  options: { tenant: { type: 'string' } },
  run: async (context) => {
    const pattern = context.positionals.length === 0 ? '' : onlyArgument(context, 'pattern');
    const [result, answered] = await Promise.all([
      context.api<ChannelsResult>('channels', { pattern, tenant: context.option('tenant') ?? '' }),
      queryGateways(context),
    ]);
    const rows = rowsOf(result);
    const isByTenant = rows.some(({ tenant }) => tenant !== undefined);
    const shown = rows
      .slice(0, MOST_SHOWN)
      .map(({ group, tenant = '', members }) => [group, ...(isByTenant ? [tenant] : []), String(members)]);
    const more = rows.length > MOST_SHOWN ? `\n(and ${rows.length - MOST_SHOWN} more; --json lists all)` : '';
    const isBad = noteSilence(context, answered);
    const none = isBad ? 'groups: unknown' : 'no groups';
    const list =
      rows.length === 0 ? none : table(['GROUP', ...(isByTenant ? ['TENANT'] : []), 'MEMBERS'], shown) + more;
    return { text: `${list}\n(${printUnanswered(answered)})`, json: rows, isBad };
  },
};

interface GroupRow {
  readonly group: string;
  /** Only in a list of all tenants. */
  readonly tenant?: string;
  readonly members: number;
}

/** The largest first. */
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
  summary: 'send DATA to a group: JSON as it is, other text as a JSON string',
  options: { idempotency: { type: 'string' }, tenant: { type: 'string' } },
  run: async ({ api, positionals, option }) => {
    const [group, data, ...more] = positionals;
    if (group === undefined || data === undefined) throw new UsageError('a group and data are needed');
    if (more.length > 0) throw new UsageError('data is one argument: put it in quotes');
    const key = option('idempotency');
    const position = await api<{ offset?: number; epoch?: string }>('publish', {
      channel: group,
      data: jsonOf(data),
      tenant: option('tenant') ?? '',
      ...(key === undefined ? {} : { idempotency_key: key }),
    });
    const kept =
      position.offset === undefined ? 'sent' : `sent as ${position.offset} of epoch ${position.epoch}`;
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

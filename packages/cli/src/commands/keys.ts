import { type CliCommand, onlyId, UsageError } from '../command.ts';
import { instant, table } from '../output.ts';

interface ApiKey {
  readonly id: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly tenant: string | null;
  readonly groups: readonly string[] | null;
  readonly created_at: string;
  readonly last_used_at: string | null;
  readonly revoked_at: string | null;
}

/** Distinct entries of a comma-separated list. Throws {@link UsageError} for an empty entry or one with a space. */
const listOf = (name: string, text: string): string[] => {
  const entries = text.split(',').map((one) => one.trim());
  const bad = entries.find((one) => one === '' || /\s/.test(one));
  if (bad === undefined) return [...new Set(entries)];
  const problem = bad === '' ? 'an empty entry' : `a space in ${JSON.stringify(bad)}`;
  throw new UsageError(`--${name}: expected names separated by commas, got ${problem}`);
};

/** `muster keys create` */
export const keysCreate: CliCommand = {
  name: 'keys create',
  usage: 'keys create --name NAME --scopes LIST [--tenant ID] [--groups LIST]',
  summary:
    'create a service API key and print it once; scopes are sessions:create, sessions:end, …; --groups limits the grants it may give',
  options: {
    name: { type: 'string' },
    scopes: { type: 'string' },
    tenant: { type: 'string' },
    groups: { type: 'string' },
  },
  run: async ({ send, option }) => {
    const [name, scopes] = [option('name'), option('scopes')];
    if (name === undefined || scopes === undefined) throw new UsageError('expected --name and --scopes');
    const [tenant, groups] = [option('tenant'), option('groups')];
    const { body } = await send<ApiKey & { key: string }>({
      ...{ method: 'POST', path: '/v1/api-keys', idempotencyKey: true },
      body: {
        name,
        scopes: listOf('scopes', scopes),
        ...(tenant === undefined ? {} : { tenant }),
        ...(groups === undefined ? {} : { groups: listOf('groups', groups) }),
      },
    });
    const text = `${body.key}\n\nThe key is not shown again. Its id is ${body.id}.`;
    return { text, json: body };
  },
};

/** `muster keys list` */
export const keysList: CliCommand = {
  name: 'keys list',
  usage: 'keys list',
  summary: 'list service API keys, without their secrets',
  options: {},
  run: async ({ send }) => {
    const { body } = await send<{ items: ApiKey[] }>({ method: 'GET', path: '/v1/api-keys' });
    const rows = body.items.map((one) => [
      ...[one.id, one.name, one.tenant ?? '(all)', instant(one.last_used_at)],
      ...[one.revoked_at === null ? 'live' : 'revoked', one.scopes.join(','), one.groups?.join(',') ?? '(all)'],
    ]);
    const text =
      rows.length === 0 ? 'no keys' : table(['KEY', 'NAME', 'TENANT', 'LAST USED', 'STATE', 'SCOPES', 'GROUPS'], rows);
    return { text, json: body.items };
  },
};

/** `muster keys revoke` */
export const keysRevoke: CliCommand = {
  name: 'keys revoke',
  usage: 'keys revoke KEY_ID',
  summary: 'revoke a service API key; every replica rejects it within 250 ms (5 s while Postgres is down)',
  options: {},
  run: async (context) => {
    const id = onlyId(context, 'key id');
    await context.send({ method: 'DELETE', path: `/v1/api-keys/${id}` });
    return { text: `revoked ${id}`, json: { id, revoked: true } };
  },
};

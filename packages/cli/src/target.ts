import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type CliEnvironment, UsageError } from './command.ts';
import type { LocalFleetFile } from './fleet.ts';

/**
 * Origin of the fleet, its API keys of the session service and of the gateways' server API, and its operator token. Reads the options, else the
 * environment, else `.muster/fleet.json` of this directory or the nearest parent that has one. Reading a missing key
 * throws {@link UsageError}.
 */
export const findTarget = (
  { env, cwd }: Pick<CliEnvironment, 'env' | 'cwd'>,
  given: Readonly<Record<'url' | 'key' | 'serverKey' | 'opsToken', string | undefined>>,
) => {
  const url = given.url ?? env['MUSTER_URL'];
  const key = given.key ?? env['MUSTER_API_KEY'];
  const serverKey = given.serverKey ?? env['MUSTER_SERVER_API_KEY'];
  const opsToken = given.opsToken ?? env['MUSTER_OPS_TOKEN'];
  // Keys of the local fleet are never sent to another URL.
  const local = url === undefined ? readFleet(cwd) : undefined;
  const origin = url === undefined ? local?.publicUrl : checked(url);
  return {
    url: origin ?? need('--url (or MUSTER_URL)'),
    key: () => key ?? local?.serviceApiKey ?? need('--key (or MUSTER_API_KEY)'),
    serverKey: () => serverKey ?? local?.serverApiKey ?? need('--server-key (or MUSTER_SERVER_API_KEY)'),
    opsToken: () => opsToken ?? local?.opsToken ?? need('--ops-token (or MUSTER_OPS_TOKEN)'),
    /** Read again at each call: process ids change. Undefined for another fleet. */
    localFleet: () => (url === undefined ? readFleet(cwd) : undefined),
  };
};

const need = (what: string): never => {
  throw new UsageError(`${what} is missing, and no fleet runs from this directory`);
};

/** Throws {@link UsageError} for a URL that is not an origin. The message does not repeat it: it may contain a password. */
const checked = (url: string): string => {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const hint = 'expected the origin of the load balancer, such as https://app.example.com';
  if (parsed === undefined || !/^https?:$/.test(parsed.protocol) || !/^https?:\/\//.test(url))
    throw new UsageError(`--url (or MUSTER_URL) is not an http(s) URL: ${hint}`);
  if (`${parsed.username}${parsed.password}${parsed.search}${parsed.hash}` !== '')
    throw new UsageError(
      `--url (or MUSTER_URL) for ${parsed.protocol}//${parsed.host} has a user, a password, a query or a fragment: ${hint}`,
    );
  return url;
};

const readFleet = (cwd: string): LocalFleetFile | undefined => {
  for (let directory = cwd; ; directory = dirname(directory)) {
    const file = join(directory, '.muster', 'fleet.json');
    if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8'));
    if (directory === dirname(directory)) return undefined;
  }
};

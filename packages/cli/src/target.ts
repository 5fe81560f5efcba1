import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type CliEnvironment, UsageError } from './command.ts';

/** Where the fleet is, and the keys for it. A key that is missing is told when it is needed. */
export interface CliTarget {
  readonly url: string;
  /** Of the session service. */
  key(): string;
  /** Of the gateways' server API. */
  serverKey(): string;
}

interface Given {
  readonly url: string | undefined;
  readonly key: string | undefined;
  readonly serverKey: string | undefined;
}

/** From the options, else the environment, else the fleet that runs from this directory or one above it. */
export const findTarget = ({ env, cwd }: Pick<CliEnvironment, 'env' | 'cwd'>, given: Given): CliTarget => {
  const url = given.url ?? env['MUSTER_URL'];
  const key = given.key ?? env['MUSTER_API_KEY'];
  const serverKey = given.serverKey ?? env['MUSTER_SERVER_API_KEY'];
  // The keys of the local fleet are for the local fleet.
  const local = url === undefined ? readFleet(cwd) : undefined;
  const origin = url === undefined ? local?.publicUrl : checked(url);
  return {
    url: origin ?? need('--url (or MUSTER_URL)'),
    key: () => key ?? local?.serviceApiKey ?? need('--key (or MUSTER_API_KEY)'),
    serverKey: () => serverKey ?? local?.serverApiKey ?? need('--server-key (or MUSTER_SERVER_API_KEY)'),
  };
};

const need = (what: string): never => {
  throw new UsageError(`${what} is needed: no fleet runs from this directory`);
};

/** The text is not repeated: it may be a key, or hold a password. */
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

interface LocalFleet {
  readonly publicUrl: string;
  readonly serviceApiKey: string;
  readonly serverApiKey: string;
}

const readFleet = (cwd: string): LocalFleet | undefined => {
  for (let directory = cwd; ; directory = dirname(directory)) {
    const file = join(directory, '.muster', 'fleet.json');
    if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8'));
    if (directory === dirname(directory)) return undefined;
  }
};

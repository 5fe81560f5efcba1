import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Surroundings, UsageError } from './command.ts';

/** Where the fleet is, and the key for it. */
export interface Target {
  readonly url: string;
  readonly key: string;
}

/** From the options, else the environment, else the fleet that runs from this directory or one above it. */
export const findTarget = (
  { env, cwd }: Pick<Surroundings, 'env' | 'cwd'>,
  given: { readonly url: string | undefined; readonly key: string | undefined },
): Target => {
  const url = given.url ?? env['MUSTER_URL'];
  const key = given.key ?? env['MUSTER_API_KEY'];
  if (url !== undefined && key !== undefined) return { url: checked(url), key };
  const local = readFleet(cwd);
  // The key of the local fleet is for the local fleet.
  if (url !== undefined || local === undefined) {
    const missing = url === undefined ? '--url (or MUSTER_URL)' : '--key (or MUSTER_API_KEY)';
    throw new UsageError(`${missing} is needed: no fleet runs from this directory`);
  }
  return { url: local.publicUrl, key: key ?? local.serviceApiKey };
};

const checked = (url: string): string => {
  if (!/^https?:\/\//.test(url) || !URL.canParse(url)) throw new UsageError(`${url} is no http(s) URL`);
  return url;
};

const readFleet = (cwd: string): { publicUrl: string; serviceApiKey: string } | undefined => {
  for (let directory = cwd; ; directory = dirname(directory)) {
    const file = join(directory, '.muster', 'fleet.json');
    if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8'));
    if (directory === dirname(directory)) return undefined;
  }
};

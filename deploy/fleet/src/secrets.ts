import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** Secrets as in the variables of the services: comma-separated lists, the current value first. */
export interface Secrets {
  readonly sessionSecrets: string;
  readonly serviceApiKeys: string;
  readonly serverApiKeys: string;
  readonly internalApiKey: string;
  readonly opsToken: string;
}

const VARIABLES: Record<keyof Secrets, string> = {
  sessionSecrets: 'SESSION_SECRETS',
  serviceApiKeys: 'SERVICE_API_KEYS',
  serverApiKeys: 'SERVER_API_KEYS',
  internalApiKey: 'INTERNAL_API_KEY',
  opsToken: 'OPS_TOKEN',
};

/** Prefixes that identify a key in a header. Session secrets are never sent. */
const PREFIX: Record<keyof Secrets, string> = {
  sessionSecrets: '',
  serviceApiKeys: 'sk_',
  serverApiKeys: 'srv_',
  internalApiKey: 'int_',
  opsToken: 'ops_',
};

const SECRET_BYTES = 36;

/** Secrets of a fleet: those of the environment, otherwise random values that are created once and stored in `file`. */
export const loadSecrets = (file: string, env: NodeJS.ProcessEnv): Secrets => {
  const stored = readSecretsFile(file);
  const own = mapSecrets((name) => stored[name] ?? `${PREFIX[name]}${randomBytes(SECRET_BYTES).toString('base64url')}`);
  if (JSON.stringify(own) !== JSON.stringify(stored)) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${JSON.stringify(own, null, 2)}\n`, { mode: 0o600 });
  }
  return mapSecrets((name) => fromEnvironment(env, VARIABLES[name]) ?? own[name]);
};

const mapSecrets = (value: (name: keyof Secrets) => string): Secrets => ({
  sessionSecrets: value('sessionSecrets'),
  serviceApiKeys: value('serviceApiKeys'),
  serverApiKeys: value('serverApiKeys'),
  internalApiKey: value('internalApiKey'),
  opsToken: value('opsToken'),
});

const readSecretsFile = (file: string): Partial<Secrets> => {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Partial<Secrets>;
  } catch {
    return {};
  }
};

/** Value of a variable or of its `NAME_FILE`; undefined when absent or empty. */
export const fromEnvironment = (env: NodeJS.ProcessEnv, name: string): string | undefined => {
  if (env[name]) return env[name];
  const file = env[`${name}_FILE`];
  return file ? readFileSync(file, 'utf8').trimEnd() : undefined;
};

/** Current key of a list. */
export const firstKey = (list: string): string => list.split(',')[0]?.trim() ?? '';

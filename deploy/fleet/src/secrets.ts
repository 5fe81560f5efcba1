import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** Secrets with their variable, and the prefix that identifies a key in a header. Session secrets are never sent. */
const SECRETS = {
  sessionSecrets: { variable: 'SESSION_SECRETS', prefix: '' },
  serviceApiKeys: { variable: 'SERVICE_API_KEYS', prefix: 'sk_' },
  serverApiKeys: { variable: 'SERVER_API_KEYS', prefix: 'srv_' },
  internalApiKey: { variable: 'INTERNAL_API_KEY', prefix: 'int_' },
  opsToken: { variable: 'OPS_TOKEN', prefix: 'ops_' },
};

/** Secrets as in the variables of the services: comma-separated lists, the current value first. */
export type Secrets = Readonly<Record<keyof typeof SECRETS, string>>;

const SECRET_BYTES = 36;

/** Secrets of a fleet: those of the environment, otherwise random values that are created once and stored in `file`. */
export const loadSecrets = (file: string, env: NodeJS.ProcessEnv): Secrets => {
  const stored = readSecretsFile(file);
  const own = mapSecrets(
    (name) => stored[name] ?? `${SECRETS[name].prefix}${randomBytes(SECRET_BYTES).toString('base64url')}`,
  );
  if (JSON.stringify(own) !== JSON.stringify(stored)) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${JSON.stringify(own, null, 2)}\n`, { mode: 0o600 });
  }
  return mapSecrets((name) => fromEnvironment(env, SECRETS[name].variable) ?? own[name]);
};

const mapSecrets = (value: (name: keyof Secrets) => string): Secrets =>
  Object.fromEntries((Object.keys(SECRETS) as (keyof Secrets)[]).map((name) => [name, value(name)])) as Secrets;

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

import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** As the services' variables hold them: a comma-separated list with the one in use first. */
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

/** Which key is which should be visible in a header; session secrets never travel. */
const PREFIX: Record<keyof Secrets, string> = {
  sessionSecrets: '',
  serviceApiKeys: 'sk_',
  serverApiKeys: 'srv_',
  internalApiKey: 'int_',
  opsToken: 'ops_',
};

const SECRET_BYTES = 36;

/** The secrets of a fleet: the caller's where the environment has them, else random ones made once and kept. */
export const loadSecrets = (file: string, env: NodeJS.ProcessEnv): Secrets => {
  const kept = readSecretsFile(file);
  const own = mapSecrets(
    (name) => kept[name] ?? `${PREFIX[name]}${randomBytes(SECRET_BYTES).toString('base64url')}`,
  );
  if (JSON.stringify(own) !== JSON.stringify(kept)) {
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

/** A variable that may also be given as `NAME_FILE`; undefined when absent or empty. */
export const fromEnvironment = (env: NodeJS.ProcessEnv, name: string): string | undefined => {
  if (env[name]) return env[name];
  const file = env[`${name}_FILE`];
  return file ? readFileSync(file, 'utf8').trimEnd() : undefined;
};

/** The first key of a list: the one to use. */
export const firstKey = (list: string): string => list.split(',')[0]?.trim() ?? '';

// Secrets of a fleet in containers, one file per secret and reader.
//   docker compose run --rm secrets                 create missing secrets (runs with each `up`)
//   docker compose run --rm secrets show NAME       print a secret
//   docker compose run --rm secrets set NAME        read it from standard input
//   docker compose run --rm secrets add NAME        add a random value that is accepted, but not yet used
//   docker compose run --rm secrets promote NAME    put the newest value first: it is used from now on
//   docker compose run --rm secrets retire NAME     keep the first value only
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const HOME = process.env.SECRETS_DIRECTORY ?? '/secrets';
const BYTES = 36;

/** Readers of each secret; each reader has its own directory. */
const READERS = {
  POSTGRES_PASSWORD: ['postgres'],
  DATABASE_URL: ['session-service'],
  SESSION_SECRETS: ['session-service', 'ws-gateway'],
  SERVICE_API_KEYS: ['session-service', 'health-aggregator'],
  SERVER_API_KEYS: ['ws-gateway', 'health-aggregator'],
  INTERNAL_API_KEY: ['session-service', 'ws-gateway'],
  OPS_TOKEN: ['health-aggregator'],
  WEBHOOK_SECRET: ['health-aggregator'],
  GRAFANA_PASSWORD: ['grafana'],
};
const PREFIX = {
  SERVICE_API_KEYS: 'sk_',
  SERVER_API_KEYS: 'srv_',
  INTERNAL_API_KEY: 'int_',
  OPS_TOKEN: 'ops_',
};
/** Lists: the first value is used, all are accepted. */
const LISTS = ['SESSION_SECRETS', 'SERVICE_API_KEYS', 'SERVER_API_KEYS'];

const pathsOf = (name) => READERS[name].map((reader) => join(HOME, reader, name));
const read = (name) => {
  const found = pathsOf(name).find((path) => existsSync(path));
  return found === undefined ? undefined : readFileSync(found, 'utf8').trim();
};
/** Writes atomically. */
const write = (name, value) => {
  for (const path of pathsOf(name)) {
    writeFileSync(`${path}.new`, `${value}\n`, { mode: 0o444 });
    renameSync(`${path}.new`, path);
  }
};
const random = (name) => `${PREFIX[name] ?? ''}${randomBytes(BYTES).toString('hex')}`;
const databaseUrl = (password) =>
  `postgres://muster:${encodeURIComponent(password)}@${process.env.POSTGRES_ADDRESS ?? 'postgres:5432'}/muster`;

const ensure = () => {
  const created = Object.keys(READERS).filter((name) => name !== 'DATABASE_URL' && read(name) === undefined);
  for (const name of created) write(name, random(name));
  // Existing secrets are written again, so that a new reader receives its copy.
  for (const name of Object.keys(READERS)) if (name !== 'DATABASE_URL') write(name, read(name));
  if (read('DATABASE_URL') === undefined) write('DATABASE_URL', databaseUrl(read('POSTGRES_PASSWORD')));
  process.stdout.write(created.length === 0 ? 'all secrets exist\n' : `created ${created.join(', ')}\n`);
};

const listOf = (name) => {
  if (!LISTS.includes(name)) throw new Error(`${name}: expected one of the lists ${LISTS.join(', ')}`);
  return (read(name) ?? '').split(',').filter((value) => value !== '');
};

const COMMANDS = {
  show: (name) => process.stdout.write(`${read(name) ?? ''}\n`),
  set: (name) => {
    const value = readFileSync(0, 'utf8').trim();
    if (value === '') throw new Error('set: expected a value on standard input');
    write(name, value);
  },
  add: (name) => write(name, [...listOf(name), random(name)].join(',')),
  promote: (name) => {
    const values = listOf(name);
    write(name, [...values.slice(-1), ...values.slice(0, -1)].join(','));
  },
  retire: (name) => write(name, listOf(name)[0] ?? random(name)),
};

const [command, name] = process.argv.slice(2);
try {
  if (command === undefined) ensure();
  else if (COMMANDS[command] === undefined)
    throw new Error(`unknown command ${command}, expected one of ${Object.keys(COMMANDS).join(', ')}`);
  else if (READERS[name] === undefined)
    throw new Error(`unknown secret ${name}, expected one of ${Object.keys(READERS).join(', ')}`);
  else COMMANDS[command](name);
} catch (error) {
  process.stderr.write(`secrets: ${error.message}\n`);
  process.exitCode = 1;
}

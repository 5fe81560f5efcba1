// The secrets of a fleet in containers, each a file that only those who need it can see.
//   docker compose run --rm secrets                 make what is missing, keep the rest (each `up` does it)
//   docker compose run --rm secrets show NAME       print one
//   docker compose run --rm secrets set NAME        take it from standard input
//   docker compose run --rm secrets add NAME        add a random value that is accepted, and not in use yet
//   docker compose run --rm secrets promote NAME    put the newest value first: it is in use from now on
//   docker compose run --rm secrets retire NAME     keep the first value only
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const HOME = process.env.SECRETS_DIRECTORY ?? '/secrets';
const BYTES = 36;

/** Who reads what. Every reader has a directory of its own. */
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
/** Lists whose first value is in use while all are accepted. */
const LISTS = ['SESSION_SECRETS', 'SERVICE_API_KEYS', 'SERVER_API_KEYS'];

const placesOf = (name) => READERS[name].map((reader) => join(HOME, reader, name));
const read = (name) => {
  const place = placesOf(name).find((path) => existsSync(path));
  return place === undefined ? undefined : readFileSync(place, 'utf8').trim();
};
/** Whole or not at all: a reader never sees half a secret. */
const write = (name, value) => {
  for (const path of placesOf(name)) {
    writeFileSync(`${path}.new`, `${value}\n`, { mode: 0o444 });
    renameSync(`${path}.new`, path);
  }
};
const random = (name) => `${PREFIX[name] ?? ''}${randomBytes(BYTES).toString('hex')}`;
const databaseUrl = (password) =>
  `postgres://muster:${encodeURIComponent(password)}@${process.env.POSTGRES_ADDRESS ?? 'postgres:5432'}/muster`;

const ensure = () => {
  const made = Object.keys(READERS).filter((name) => name !== 'DATABASE_URL' && read(name) === undefined);
  for (const name of made) write(name, random(name));
  // Also when they were there: a reader that came later gets its copy.
  for (const name of Object.keys(READERS)) if (name !== 'DATABASE_URL') write(name, read(name));
  if (read('DATABASE_URL') === undefined) write('DATABASE_URL', databaseUrl(read('POSTGRES_PASSWORD')));
  process.stdout.write(made.length === 0 ? 'all secrets are there\n' : `made ${made.join(', ')}\n`);
};

const listOf = (name) => {
  if (!LISTS.includes(name)) throw new Error(`${name} is no list; lists are ${LISTS.join(', ')}`);
  return (read(name) ?? '').split(',').filter((value) => value !== '');
};

const COMMANDS = {
  show: (name) => process.stdout.write(`${read(name) ?? ''}\n`),
  set: (name) => {
    const value = readFileSync(0, 'utf8').trim();
    if (value === '') throw new Error('standard input was empty');
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
  else if (COMMANDS[command] === undefined) throw new Error(`there are ${Object.keys(COMMANDS).join(', ')}`);
  else if (READERS[name] === undefined) throw new Error(`there are ${Object.keys(READERS).join(', ')}`);
  else COMMANDS[command](name);
} catch (error) {
  process.stderr.write(`secrets: ${error.message}\n`);
  process.exitCode = 1;
}

import { createHmac } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { acceptsConnections, freePorts } from '@muster/local/ports';
import { foregroundServer, startServer } from '@muster/local/server-process';
import type { Environment } from './environment.ts';
import type { LoadTarget } from './load-generator.ts';

/** A server process under measurement. */
export interface ServerUnderTest extends AsyncDisposable {
  readonly pid: number;
  readonly port: number;
}

/** A product that is measured. */
export interface Contestant extends Pick<LoadTarget, 'dialect' | 'path' | 'header'> {
  readonly name: ContestantName;
  /** True when its processes share publications. */
  readonly hasReplicas: boolean;
  /** Starts a new process, on the core of the servers or beside the load. */
  start(options?: { isBesideLoad?: boolean }): Promise<ServerUnderTest>;
  /** File with credentials for as many users, each with a session of its own. */
  tokensFile(count: number): Promise<string | undefined>;
}

/** Names of the contestants, in the order of the tables. */
export const CONTESTANTS = ['muster', 'centrifugo', 'socket.io', 'ws', 'bare sockets'] as const;
export type ContestantName = (typeof CONTESTANTS)[number];

const PEERS = fileURLToPath(new URL('./peer-servers.ts', import.meta.url));
const CENTRIFUGO_SECRET = 'bench-secret-of-centrifugo-tokens';
const CENTRIFUGO_KEY = 'bench-key-of-centrifugo';
const SESSIONS_AT_ONCE = 16;
const SESSION_ATTEMPTS = 50;
const SESSION_RETRY_MS = 200;
const STOP_DEADLINE_MS = 5_000;
/** A busy machine does not fail the benchmark, it only spoils it. */
const READY_TIMEOUT_MS = 120_000;
/** Defaults of a gateway in production that differ in the development fleet of the benchmark. */
const PRODUCTION = { WARM_UP_MS: '5000' };

/** A contestant; undefined when its program is not available. */
export const createContestant = (name: ContestantName, environment: Environment): Contestant | undefined => {
  if (name === 'muster') return muster(environment);
  if (name === 'centrifugo') return centrifugo(environment);
  const { redisUrl } = environment.fleet.describe();
  return {
    ...{ name, hasReplicas: name !== 'bare sockets', header: 'X-None: 1', tokensFile: async () => undefined },
    ...(name === 'socket.io'
      ? { dialect: 'socket.io', path: '/socket.io/?EIO=4&transport=websocket' }
      : { dialect: 'plain', path: '/?group=' }),
    start: (options = {}) =>
      startProcess(environment, {
        ...{ name, ...options, env: { ...process.env, NODE_ENV: 'production' } },
        command: (port) => [process.execPath, PEERS, name, String(port), redisUrl],
      }),
  };
};

interface ProcessOptions {
  readonly name: string;
  readonly isBesideLoad?: boolean;
  readonly env: NodeJS.ProcessEnv;
  command(port: number, secondPort: number): readonly string[];
  environment?(port: number, secondPort: number): NodeJS.ProcessEnv;
  isReady?(port: number): Promise<boolean>;
}

const startProcess = async (environment: Environment, options: ProcessOptions): Promise<ServerUnderTest> => {
  const { name, env, isBesideLoad = false, command, isReady = acceptsConnections } = options;
  const [port = 0, secondPort = 0] = await freePorts(2);
  const words = [...(isBesideLoad ? [] : environment.serverCore), ...command(port, secondPort)];
  const child = await startServer(
    {
      ...foregroundServer({
        ...{ name, port, program: { path: words[0] ?? '' }, args: words.slice(1), isReady: () => isReady(port) },
        env: { ...env, ...options.environment?.(port, secondPort) },
        logFile: join(environment.fleet.dataDir, 'logs', `bench-${name}.log`),
      }),
      readyTimeoutMs: READY_TIMEOUT_MS,
    },
    { onSpawn: ({ pid, exited }) => environment.guard(pid, exited) },
  );
  return {
    ...{ pid: child.pid, port },
    [Symbol.asyncDispose]: async () => void (await child.stop({ signal: 'SIGKILL', deadlineMs: STOP_DEADLINE_MS })),
  };
};

/** A gateway with the command and the environment of the gateway of the fleet, but for its ports and its name. */
const muster = (environment: Environment): Contestant => {
  const about = environment.fleet.describe();
  const template = about.gateways[0]?.pid ?? 0;
  const listOf = (file: string) => readFileSync(`/proc/${template}/${file}`, 'utf8').split('\0').slice(0, -1);
  const env = Object.fromEntries(listOf('environ').map((line) => /^([^=]*)=(.*)$/s.exec(line)?.slice(1) ?? []));
  const command = listOf('cmdline');
  const tokens: string[] = [];
  return {
    ...{ name: 'muster', hasReplicas: true, dialect: 'centrifugo', path: '/connection/websocket' },
    header: `X-API-Key: ${about.serverApiKey}`,
    start: (options = {}) =>
      startProcess(environment, {
        ...{ name: 'muster', ...options, env, command: () => command },
        environment: (port, opsPort) => ({
          ...{ PORT: String(port), OPS_PORT: String(opsPort), INSTANCE_NAME: `bench-${port}` },
          ...PRODUCTION,
        }),
        isReady: async (port) => (await fetch(`http://127.0.0.1:${port}/readyz`)).ok,
      }),
    tokensFile: async (count) => {
      const missing = count - tokens.length;
      if (missing > 0) tokens.push(...(await createSessions(environment, { from: tokens.length, count: missing })));
      return writeTokens(environment, `muster-${count}`, tokens.slice(0, count));
    },
  };
};

const createSessions = async (
  environment: Environment,
  { from, count }: { from: number; count: number },
): Promise<string[]> => {
  const tokens: string[] = [];
  let next = from;
  const worker = async (): Promise<void> => {
    while (next < from + count) tokens.push(await createSession(environment, `user-${next++}`));
  };
  await Promise.all(Array.from({ length: SESSIONS_AT_ONCE }, worker));
  return tokens;
};

/** Token of a new session. A service that is too busy is tried again. */
const createSession = async (environment: Environment, userId: string, attempt = 1): Promise<string> => {
  const { sessionServices, serviceApiKey } = environment.fleet.describe();
  const answer = await fetch(`${sessionServices[0]?.url}/v1/sessions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${serviceApiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ user_id: userId, transport: 'bearer' }),
  });
  const text = await answer.text();
  if (answer.ok) return (JSON.parse(text) as { token: string }).token;
  if (attempt === SESSION_ATTEMPTS) throw new Error(`no session: ${answer.status} ${text}`);
  await sleep(SESSION_RETRY_MS);
  return createSession(environment, userId, attempt + 1);
};

const writeTokens = (environment: Environment, name: string, tokens: readonly string[]): string => {
  const file = join(environment.fleet.dataDir, `tokens-${name}.txt`);
  writeFileSync(file, `${tokens.join('\n')}\n`, { mode: 0o600 });
  return file;
};

/** Centrifugo with the options that Muster has: presence, history, recovery, positions. */
const centrifugo = (environment: Environment): Contestant | undefined => {
  const { fleet, centrifugo: program } = environment;
  if (program === undefined) return undefined;
  const config = join(fleet.dataDir, 'centrifugo.json');
  writeFileSync(config, JSON.stringify(centrifugoConfig(fleet.describe().redisUrl)));
  return {
    ...{ name: 'centrifugo', hasReplicas: true, dialect: 'centrifugo', path: '/connection/websocket' },
    header: `X-API-Key: ${CENTRIFUGO_KEY}`,
    start: (options = {}) =>
      startProcess(environment, {
        // One core, as every contestant has.
        ...{ name: 'centrifugo', ...options, env: { ...process.env, GOMAXPROCS: '1' } },
        command: (port) => [program, '--config', config, '--http_server.port', String(port)],
      }),
    tokensFile: async (count) =>
      writeTokens(
        environment,
        `centrifugo-${count}`,
        Array.from({ length: count }, (_, index) => signJwt({ sub: `user-${index}`, exp: 2_000_000_000 })),
      ),
  };
};

const centrifugoConfig = (redisUrl: string): object => ({
  http_server: { address: '127.0.0.1' },
  log: { level: 'error' },
  http_api: { key: CENTRIFUGO_KEY },
  engine: { type: 'redis', redis: { address: redisUrl, prefix: 'bench-centrifugo' } },
  client: {
    token: { hmac_secret_key: CENTRIFUGO_SECRET },
    ...{ allowed_origins: ['*'], ping_interval: '600s', pong_timeout: '8s', channel_limit: 200 },
  },
  channel: {
    without_namespace: {
      ...{ presence: true, history_size: 300, history_ttl: '300s', force_recovery: true },
      ...{ allow_subscribe_for_client: true, allow_publish_for_client: true },
      ...{ allow_presence_for_subscriber: true, allow_history_for_subscriber: true },
    },
  },
  prometheus: { enabled: true },
});

const signJwt = (claims: object): string => {
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const text = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${text}.${createHmac('sha256', CENTRIFUGO_SECRET).update(text).digest('base64url')}`;
};

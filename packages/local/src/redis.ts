import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { executable, findProgram, type Program, programFinder } from './programs.ts';
import { type ForegroundOptions, foregroundServer, type ServerSpec } from './server-process.ts';

const PING_TIMEOUT_MS = 500;

/** Redis with its directory and persistence. */
export interface RedisOptions extends ForegroundOptions {
  readonly name?: string;
  /** Working directory; created when missing. */
  readonly dataDir: string;
  /** Append-only file: true syncs every second, `always` before each reply. */
  readonly persistent: boolean | 'always';
  /** Additional arguments, such as those of a cluster. */
  readonly extra?: readonly string[];
}

const locate = (path: string): Program | undefined => {
  const server = executable('redis-server', 'valkey-server')(path);
  if (server !== undefined) return server;
  const sameBinary = findProgram(['redis-check-rdb'], path);
  return sameBinary === undefined ? undefined : { path: sameBinary, argv0: 'redis-server' };
};

/** The Redis or Valkey server of this machine. Rejects with {@link MissingProgramError}. */
export const findRedis = programFinder({
  find: locate,
  // It contains the same binary as `redis-server`, and starts no service.
  debianPackage: 'redis-tools',
  missing: [
    'Redis is required, and neither redis-server nor valkey-server was found. Either',
    '  1. install it:              apt-get install redis-server   or   brew install redis',
    '  2. use a running server:    REDIS_URL=redis://host:6379 and the same command',
    '  3. run it in a container:   docker run -p 6379:6379 redis:8-alpine   and then as in 2',
    '  4. run the fleet in Docker: docker compose up',
  ],
});

/** Redis on loopback, without a password. */
export const redisServer = (options: RedisOptions): ServerSpec =>
  foregroundServer({
    name: 'redis',
    ...options,
    args: redisArguments(options),
    prepare: () => void mkdirSync(options.dataDir, { recursive: true, mode: 0o700 }),
    isReady: () => redisAnswers(options.port),
  });

const redisArguments = ({ port, dataDir, persistent, extra = [] }: RedisOptions): string[] => [
  ...['--port', String(port), '--bind', '127.0.0.1', '--dir', dataDir],
  ...['--daemonize', 'no', '--save', '', '--databases', '16', '--tcp-backlog', '511'],
  ...(persistent === false ? ['--appendonly', 'no'] : ['--appendonly', 'yes', '--appendfsync']),
  ...(persistent === false ? [] : [persistent === true ? 'everysec' : persistent]),
  ...extra,
];

/** URL of a local Redis. */
export const redisUrl = (port: number): string => `redis://127.0.0.1:${port}`;

/** True when Redis on a local port has loaded its data and answers PING. */
export const redisAnswers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    const answer = (isReady: boolean) => {
      socket.destroy();
      resolve(isReady);
    };
    socket.setTimeout(PING_TIMEOUT_MS, () => answer(false));
    socket.once('error', () => answer(false));
    socket.once('close', () => answer(false));
    socket.once('data', (data) => answer(data.toString('latin1').startsWith('+PONG')));
    socket.write('PING\r\n');
  });

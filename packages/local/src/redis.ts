import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import {
  type FindOptions,
  findOrInstall,
  findProgram,
  MissingProgramError,
  type Program,
} from './programs.ts';
import type { ServerSpec } from './server-process.ts';

const SERVER_NAMES = ['redis-server', 'valkey-server'];
const PING_TIMEOUT_MS = 500;

/** Where a Redis of ours keeps what it holds. */
export interface RedisOptions {
  readonly name?: string;
  readonly program: Program;
  readonly port: number;
  /** Working directory; made when missing. */
  readonly dataDir: string;
  /** True appends each write to a file within a second, `always` before it is answered: data survives a restart. */
  readonly persistent: boolean | 'always';
  /** Further arguments, such as those of a cluster. */
  readonly extra?: readonly string[];
  readonly logFile: string;
  readonly env: NodeJS.ProcessEnv;
}

/** A Redis (or Valkey) server program of this machine. Rejects with {@link MissingProgramError}. */
export const findRedis = async (options: FindOptions): Promise<Program> => {
  // `redis-tools` holds the same binary as `redis-server`, and starts no service behind our back.
  const found = await findOrInstall(locate, 'redis-tools', options);
  if (found !== undefined) return found;
  throw new MissingProgramError(
    [
      'Redis is needed, and neither redis-server nor valkey-server was found. Four ways out:',
      '  1. install it:        apt-get install redis-server   or   brew install redis',
      '  2. use another one:   REDIS_URL=redis://host:6379 and the same command again',
      '  3. run a container:   docker run -p 6379:6379 redis:8-alpine   and then as in 2',
      '  4. all in containers: docker compose up',
    ].join('\n'),
  );
};

const locate = (path: string): Program | undefined => {
  const server = findProgram(SERVER_NAMES, path);
  if (server !== undefined) return { path: server };
  const sameBinary = findProgram(['redis-check-rdb'], path);
  return sameBinary === undefined ? undefined : { path: sameBinary, argv0: 'redis-server' };
};

/** A Redis on loopback, without password, that keeps nothing unless told so. */
export const redisServer = (options: RedisOptions): ServerSpec => ({
  child: {
    name: options.name ?? 'redis',
    command: options.program.path,
    argv0: options.program.argv0,
    args: redisArguments(options),
    env: options.env,
    logFile: options.logFile,
  },
  prepare: () => void mkdirSync(options.dataDir, { recursive: true, mode: 0o700 }),
  isReady: () => redisAnswers(options.port),
  stopSignal: 'SIGTERM',
  stopDeadlineMs: 5_000,
});

const redisArguments = ({ port, dataDir, persistent, extra = [] }: RedisOptions): string[] => [
  ...['--port', String(port), '--bind', '127.0.0.1', '--dir', dataDir],
  ...['--daemonize', 'no', '--save', '', '--databases', '16', '--tcp-backlog', '511'],
  ...(persistent === false ? ['--appendonly', 'no'] : ['--appendonly', 'yes', '--appendfsync']),
  ...(persistent === false ? [] : [persistent === true ? 'everysec' : persistent]),
  ...extra,
];

/** The URL of a local Redis. */
export const redisUrl = (port: number): string => `redis://127.0.0.1:${port}`;

/** True when a Redis on that port of this machine has loaded its data and answers PING. */
export const redisAnswers = (port: number, host = '127.0.0.1'): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ port, host });
    const answer = (yes: boolean) => {
      socket.destroy();
      resolve(yes);
    };
    socket.setTimeout(PING_TIMEOUT_MS, () => answer(false));
    socket.once('error', () => answer(false));
    socket.once('close', () => answer(false));
    socket.once('data', (data) => answer(data.toString('latin1').startsWith('+PONG')));
    socket.write('PING\r\n');
  });

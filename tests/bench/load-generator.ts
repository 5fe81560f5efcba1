import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** Connections of a load generator. */
export interface LoadTarget {
  readonly port: number;
  /** Port of the publishers, when they are at another replica. */
  readonly publishPort?: number | undefined;
  readonly dialect: 'centrifugo' | 'socket.io' | 'plain';
  /** Path of the upgrade request; the dialect `plain` appends the group. */
  readonly path: string;
  readonly members: number;
  readonly groups: number;
  /** Groups of each member. */
  readonly perMember: number;
  /** Prefix of the names of the groups. */
  readonly prefix: string;
  /** Header of the HTTP publications, with the key. */
  readonly header: string;
  /** One token on each line. */
  readonly tokensFile?: string | undefined;
}

/** Answer to a command. The counts are those since the start of the process, but for `publications` and `deliveries`. */
export interface LoadAnswer {
  readonly published: number;
  readonly missing: number;
  /** Doubled, out of order, or after a gap. */
  readonly disordered: number;
  readonly unknown: number;
  readonly errors: number;
  readonly closed: number;
  readonly unrecovered: number;
  readonly recovered: number;
  readonly retries: number;
  readonly seconds: number;
  readonly publications: number;
  readonly deliveries: number;
  /** Latencies, and times until half, 99 % and all members were subscribed again, ms. */
  readonly p50: number;
  readonly p99: number;
  readonly half: number;
  readonly most: number;
  readonly all: number;
}

/** A command of the load generator (`load/main.c`) and its options. */
export type SendToLoad = (command: string, options?: Readonly<Record<string, number>>) => Promise<LoadAnswer>;

export interface LoadGenerator extends Disposable {
  readonly pid: number;
  readonly send: SendToLoad;
}

const SOURCES = join(import.meta.dirname, 'load');
const MAX_ERROR_CHARACTERS = 500;

/** Compiles the load generator with the C compiler of the machine, unless `directory` has one of the same sources. */
export const buildLoadGenerator = (directory: string): string => {
  const sources = readdirSync(SOURCES).map((name) => join(SOURCES, name));
  const hash = createHash('sha256');
  for (const source of sources) hash.update(readFileSync(source));
  const program = join(directory, `load-${hash.digest('hex').slice(0, 12)}`);
  if (existsSync(program)) return program;
  mkdirSync(directory, { recursive: true });
  const unfinished = `${program}.${process.pid}`;
  const files = sources.filter((name) => name.endsWith('.c'));
  try {
    execFileSync('cc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', unfinished, ...files], { stdio: 'pipe' });
  } catch (error) {
    throw new Error(`the load generator needs Linux and a C compiler (cc): ${(error as Error).message}`);
  }
  renameSync(unfinished, program);
  return program;
};

/** Starts a load generator. It connects nothing before the first command, and ends with this process. */
export const startLoadGenerator = async (program: string, target: LoadTarget): Promise<LoadGenerator> => {
  const options: Readonly<Record<string, string | number | undefined>> = {
    ...{ port: target.port, 'publish-port': target.publishPort, dialect: target.dialect, path: target.path },
    ...{ members: target.members, groups: target.groups, 'per-member': target.perMember },
    ...{ prefix: target.prefix, header: target.header, tokens: target.tokensFile },
  };
  const args = Object.entries(options).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}`, `${value}`],
  );
  const child = spawn(program, args, { stdio: 'pipe' });
  await once(child, 'spawn');
  let errors = '';
  child.stderr.on('data', (part: Buffer) => {
    errors = (errors + String(part)).slice(0, MAX_ERROR_CHARACTERS);
  });
  // A process that has ended is noticed by its missing answer.
  child.stdin.on('error', () => {});
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  return {
    pid: child.pid ?? 0,
    send: async (command, values = {}) => {
      const words = Object.entries(values).map(([name, value]) => `${name}=${value}`);
      child.stdin.write(`${[command, ...words].join(' ')}\n`);
      const { value, done } = await lines.next();
      if (done === true) throw new Error(errors.trim() || `the load generator ended during ${command}`);
      return JSON.parse(value) as LoadAnswer;
    },
    [Symbol.dispose]: () => void child.kill('SIGKILL'),
  };
};

/** Reason why the figures are not a result; undefined when everything came once and in order. */
export const loadFaultOf = (answer: LoadAnswer): string | undefined => {
  const { missing, disordered, unknown, errors, closed, unrecovered } = answer;
  const faults = Object.entries({ missing, disordered, unknown, errors, closed, unrecovered }).filter(
    ([, count]) => count !== 0,
  );
  return faults.length === 0 ? undefined : faults.map(([name, count]) => `${count} ${name}`).join(', ');
};

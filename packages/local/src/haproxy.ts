import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { acceptsConnections } from './ports.ts';
import {
  type FindOptions,
  findOrInstall,
  findProgram,
  MissingProgramError,
  type Program,
} from './programs.ts';
import type { ServerSpec } from './server-process.ts';

/** HAProxy refuses to start unless it may open about two files per connection; the rest is for itself. */
const FILES_PER_CONNECTION = 2.1;
const RESERVED_FILES = 300;
const MAX_CONNECTIONS = 50_000;
const MIN_CONNECTIONS = 50;
/** One server behind the proxy. */
export interface ProxyUpstream {
  readonly name: string;
  readonly host: string;
  readonly port: number;
}

/** The replicas that a name stands for, at most `count`, found by DNS again and again. */
export interface UpstreamsByDns extends ProxyUpstream {
  readonly count: number;
}

/** What the template leaves open: `@NAME@` for a value, a line `@NAME@` for a list of servers. */
export interface ProxyPlan {
  readonly bind: string;
  /** Left to HAProxy when absent: as many as its limit of open files allows. */
  readonly maxConnections?: number;
  /** Further sections of the configuration; none by default. */
  readonly sections?: string;
  readonly gateways: readonly (ProxyUpstream | UpstreamsByDns)[];
  readonly sessionServices: readonly (ProxyUpstream | UpstreamsByDns)[];
  readonly aggregators: readonly (ProxyUpstream | UpstreamsByDns)[];
}

/** HAProxy as a child of ours. */
export interface HaproxyOptions {
  readonly program: Program;
  readonly port: number;
  readonly configFile: string;
  readonly config: string;
  readonly logFile: string;
  readonly env: NodeJS.ProcessEnv;
}

/** HAProxy does not accept the configuration; the message is its own. */
export class ProxyConfigError extends Error {
  override readonly name = 'ProxyConfigError';
}

/** The HAProxy of this machine. Rejects with {@link MissingProgramError}. */
export const findHaproxy = async (options: FindOptions): Promise<Program> => {
  const path = await findOrInstall(
    (directories) => findProgram(['haproxy'], directories),
    'haproxy',
    options,
  );
  if (path !== undefined) return { path };
  throw new MissingProgramError(
    [
      'HAProxy is needed, and haproxy was not found. Two ways out:',
      '  1. install it:        apt-get install haproxy   or   brew install haproxy',
      '  2. all in containers: docker compose up',
    ].join('\n'),
  );
};

/** Fills the template. Throws when it asks for something that the plan does not have. */
export const renderProxyConfig = (template: string, plan: ProxyPlan): string => {
  const values: Record<string, string> = {
    BIND: plan.bind,
    MAXCONN:
      plan.maxConnections === undefined
        ? '# No maxconn: HAProxy takes what its limit of open files allows.'
        : `maxconn ${plan.maxConnections}`,
    SECTIONS: plan.sections ?? '# No further sections.',
    GATEWAYS: serverLines(plan.gateways),
    SESSION_SERVICES: serverLines(plan.sessionServices),
    AGGREGATORS: serverLines(plan.aggregators),
  };
  return template.replaceAll(/@([A-Z_]+)@/g, (_, name: string) => {
    const value = values[name];
    if (value === undefined) throw new ProxyConfigError(`the template names @${name}@, which nobody fills`);
    return value;
  });
};

const serverLines = (servers: readonly (ProxyUpstream | UpstreamsByDns)[]): string =>
  servers
    .map((one) =>
      'count' in one
        ? `server-template ${one.name} ${one.count} "${one.host}:${one.port}" resolvers dns init-addr none`
        : `server ${one.name} ${one.host}:${one.port}`,
    )
    .join('\n  ');

/** How many connections HAProxy can promise with this limit of open files. */
export const maxConnectionsFor = (openFiles: number): number => {
  const fitting = Math.floor((openFiles - RESERVED_FILES) / FILES_PER_CONNECTION);
  return Math.min(MAX_CONNECTIONS, Math.max(MIN_CONNECTIONS, fitting));
};

/** The hard limit of open files of this process, which its children inherit. */
export const openFilesLimit = (): number => {
  const { stdout } = spawnSync('/bin/sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' });
  const limit = (stdout ?? '').trim();
  return limit === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(limit) || 1_024;
};

/** HAProxy with a finished configuration, checked. Throws {@link ProxyConfigError}. */
export const haproxyServer = (options: HaproxyOptions): ServerSpec => {
  const { program, configFile, port } = options;
  mkdirSync(dirname(configFile), { recursive: true });
  writeFileSync(configFile, options.config, { mode: 0o600 });
  const checked = spawnSync(program.path, ['-c', '-f', configFile], { encoding: 'utf8' });
  if (checked.status !== 0) {
    throw new ProxyConfigError(`haproxy refuses ${configFile}:\n${checked.stdout}${checked.stderr}`);
  }
  return {
    child: {
      name: 'haproxy',
      command: program.path,
      // In the foreground, without a master: one process, which is the one we started.
      args: ['-db', '-f', configFile],
      env: options.env,
      logFile: options.logFile,
    },
    isReady: () => acceptsConnections(port),
    stopSignal: 'SIGTERM',
    stopDeadlineMs: 2_000,
  };
};

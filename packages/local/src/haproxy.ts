import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { executable, programFinder } from './programs.ts';
import { type ForegroundOptions, foregroundServer, type ServerSpec } from './server-process.ts';

/** HAProxy requires about two open files per connection, and some for itself. */
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

/** The replicas behind a DNS name, at most `count`; the name is resolved periodically. */
export interface UpstreamsByDns extends ProxyUpstream {
  readonly count: number;
}

/** Values of the template: `@NAME@` is a value or, on its own line, a list of servers. */
export interface ProxyPlan {
  readonly bind: string;
  /** Without a value HAProxy derives it from its limit of open files. */
  readonly maxConnections?: number;
  /** Additional sections of the configuration. */
  readonly sections?: string;
  readonly gateways: readonly (ProxyUpstream | UpstreamsByDns)[];
  readonly sessionServices: readonly (ProxyUpstream | UpstreamsByDns)[];
  readonly aggregators: readonly (ProxyUpstream | UpstreamsByDns)[];
}

/** HAProxy with a complete configuration. */
export interface HaproxyOptions extends ForegroundOptions {
  readonly configFile: string;
  readonly config: string;
}

/** HAProxy rejects the configuration; the message is its output. */
export class ProxyConfigError extends Error {
  override readonly name = 'ProxyConfigError';
}

/** The HAProxy of this machine. Rejects with {@link MissingProgramError}. */
export const findHaproxy = programFinder({
  find: executable('haproxy'),
  debianPackage: 'haproxy',
  missing: [
    'HAProxy is required, and the program haproxy was not found. Either',
    '  1. install it:              apt-get install haproxy   or   brew install haproxy',
    '  2. run the fleet in Docker: docker compose up',
  ],
});

/** Renders the template. Throws {@link ProxyConfigError} for a placeholder without a value. */
export const renderProxyConfig = (template: string, plan: ProxyPlan): string => {
  const values: Record<string, string> = {
    BIND: plan.bind,
    MAXCONN:
      plan.maxConnections === undefined
        ? '# No maxconn: HAProxy derives it from its limit of open files.'
        : `maxconn ${plan.maxConnections}`,
    SECTIONS: plan.sections ?? '# No additional sections.',
    GATEWAYS: serverLines(plan.gateways),
    SESSION_SERVICES: serverLines(plan.sessionServices),
    AGGREGATORS: serverLines(plan.aggregators),
  };
  return template.replaceAll(/@([A-Z_]+)@/g, (_, name: string) => {
    const value = values[name];
    if (value === undefined) throw new ProxyConfigError(`haproxy.cfg.template: the placeholder @${name}@ has no value`);
    return value;
  });
};

const serverLines = (servers: readonly (ProxyUpstream | UpstreamsByDns)[]): string =>
  servers
    .map((server) =>
      'count' in server
        ? `server-template ${server.name} ${server.count} "${server.host}:${server.port}" resolvers dns init-addr none`
        : `server ${server.name} ${server.host}:${server.port}`,
    )
    .join('\n  ');

/** Connections that fit into a limit of open files. */
export const maxConnectionsFor = (openFiles: number): number => {
  const fitting = Math.floor((openFiles - RESERVED_FILES) / FILES_PER_CONNECTION);
  return Math.min(MAX_CONNECTIONS, Math.max(MIN_CONNECTIONS, fitting));
};

/** Hard limit of open files of this process; its children inherit it. */
export const openFilesLimit = (): number => {
  const { stdout } = spawnSync('/bin/sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' });
  const limit = (stdout ?? '').trim();
  return limit === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(limit) || 1_024;
};

/** Writes the configuration, checks it, and describes the server. Throws {@link ProxyConfigError}. */
export const haproxyServer = (options: HaproxyOptions): ServerSpec => {
  const { program, configFile } = options;
  mkdirSync(dirname(configFile), { recursive: true });
  writeFileSync(configFile, options.config, { mode: 0o600 });
  const checked = spawnSync(program.path, ['-c', '-f', configFile], { encoding: 'utf8' });
  if (checked.status !== 0) {
    throw new ProxyConfigError(`haproxy rejects ${configFile}:\n${checked.stdout}${checked.stderr}`);
  }
  return foregroundServer({
    name: 'haproxy',
    ...options,
    // One process in the foreground, without a master.
    args: ['-db', '-f', configFile],
    stopDeadlineMs: 2_000,
  });
};

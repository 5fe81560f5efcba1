import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { commandOf } from './process-identity.ts';

/** Below the range from which systems take the ports of outgoing connections (32768 on Linux, 49152 elsewhere). */
const LOWEST_PORT = 20_000;
const HIGHEST_PORT = 32_000;
const MAX_ATTEMPTS = 200;
const LISTENING = '0A';
const CONNECT_TIMEOUT_MS = 500;

/** True when something accepts connections on a port of this machine. */
export const acceptsConnections = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    const answer = (yes: boolean) => {
      socket.destroy();
      resolve(yes);
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => answer(false));
    socket.once('error', () => answer(false));
    socket.once('connect', () => answer(true));
  });

/** True when nobody listens there, so that we could. */
export const isPortFree = (port: number, host = '127.0.0.1'): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)));
  });

/**
 * Claims a port for this process among all that call {@link freePorts}, until it ends: an abstract socket is
 * bound by one process only and vanishes with it. Other systems than Linux have none; there every claim holds.
 */
const claimPort = (port: number): Promise<boolean> =>
  process.platform !== 'linux'
    ? Promise.resolve(true)
    : new Promise((resolve) => {
        const claim = createServer().unref();
        claim.once('error', () => resolve(false));
        claim.listen({ path: `\0muster-port-${port}` }, () => resolve(true));
      });

/**
 * Different ports that are free now, picked at random where no outgoing connection takes one in the meantime.
 * No port is given twice while a process that was given it runs: between this answer and the caller's server
 * another process may ask too. Rejects when the machine has none left.
 */
export const freePorts = async (count: number, random: () => number = Math.random): Promise<number[]> => {
  const found = new Set<number>();
  for (let attempt = 0; found.size < count && attempt < MAX_ATTEMPTS + count; attempt += 1) {
    const port = LOWEST_PORT + Math.floor(random() * (HIGHEST_PORT - LOWEST_PORT));
    if ((await isPortFree(port)) && (await claimPort(port))) found.add(port);
  }
  if (found.size < count)
    throw new Error(`no ${count} free ports between ${LOWEST_PORT} and ${HIGHEST_PORT}`);
  return [...found];
};

/** Who listens on a port of this machine, as far as we may see it: for messages only. */
export const portHolder = (port: number): { pid: number; command: string } | undefined => {
  const pid = process.platform === 'linux' ? holderFromProc(port) : holderFromLsof(port);
  if (pid === undefined) return undefined;
  return { pid, command: (commandOf(pid) ?? 'unknown').slice(0, 60) };
};

const holderFromLsof = (port: number): number | undefined => {
  try {
    const out = execFileSync('lsof', ['-nPt', `-iTCP:${port}`, '-sTCP:LISTEN'], { encoding: 'utf8' });
    return Number(out.split('\n')[0]) || undefined;
  } catch {
    return undefined;
  }
};

const holderFromProc = (port: number): number | undefined => {
  const inodes = new Set(['/proc/net/tcp', '/proc/net/tcp6'].flatMap((table) => listenersIn(table, port)));
  if (inodes.size === 0) return undefined;
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .find((pid) => socketsOf(pid).some((inode) => inodes.has(inode)));
};

const listenersIn = (table: string, port: number): string[] => {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  return readLines(table)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[1]?.endsWith(`:${hex}`) === true && fields[3] === LISTENING)
    .map((fields) => fields[9] ?? '');
};

const readLines = (path: string): string[] => {
  try {
    return readFileSync(path, 'utf8').split('\n').slice(1);
  } catch {
    return [];
  }
};

const socketsOf = (pid: number): string[] => {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      const link = readlinkOrEmpty(`/proc/${pid}/fd/${fd}`);
      return link.startsWith('socket:[') ? [link.slice('socket:['.length, -1)] : [];
    });
  } catch {
    return [];
  }
};

const readlinkOrEmpty = (path: string): string => {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
};

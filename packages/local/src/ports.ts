import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { attempt, commandOf } from './process-identity.ts';

/** Below the range of ephemeral ports (32768 on Linux, 49152 elsewhere). */
const LOWEST_PORT = 20_000;
const HIGHEST_PORT = 32_000;
const MAX_ATTEMPTS = 200;
const LISTENING = '0A';
const CONNECT_TIMEOUT_MS = 500;

/** True when a server accepts connections at a port within the timeout. */
export const acceptsConnections = (
  port: number,
  { host = '127.0.0.1', timeoutMs = CONNECT_TIMEOUT_MS } = {},
): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ port, host });
    const answer = (isAccepted: boolean) => {
      socket.destroy();
      resolve(isAccepted);
    };
    socket.setTimeout(timeoutMs, () => answer(false));
    socket.once('error', () => answer(false));
    socket.once('connect', () => answer(true));
  });

/** True when the port is not in use. */
export const isPortFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });

/**
 * Reserves a port among the processes that call {@link freePorts}, until this process ends, by an abstract socket.
 * Only Linux has abstract sockets; elsewhere every reservation succeeds.
 */
const reservePort = (port: number): Promise<boolean> =>
  process.platform !== 'linux'
    ? Promise.resolve(true)
    : new Promise((resolve) => {
        const reservation = createServer().unref();
        reservation.once('error', () => resolve(false));
        reservation.listen({ path: `\0muster-port-${port}` }, () => resolve(true));
      });

/**
 * Distinct free ports, chosen at random outside the ephemeral range. A port is not returned to another process while
 * this process runs. Rejects when not enough ports are free.
 */
export const freePorts = async (count: number, random: () => number = Math.random): Promise<number[]> => {
  const found = new Set<number>();
  for (let attempt = 0; found.size < count && attempt < MAX_ATTEMPTS + count; attempt += 1) {
    const port = LOWEST_PORT + Math.floor(random() * (HIGHEST_PORT - LOWEST_PORT));
    if ((await isPortFree(port)) && (await reservePort(port))) found.add(port);
  }
  if (found.size < count) throw new Error(`no ${count} free ports between ${LOWEST_PORT} and ${HIGHEST_PORT}`);
  return [...found];
};

/** The process that listens on a port, as far as it is visible; for error messages. */
export const portHolder = (port: number): { pid: number; command: string } | undefined => {
  const pid = process.platform === 'linux' ? holderFromProc(port) : holderFromLsof(port);
  if (pid === undefined) return undefined;
  return { pid, command: (commandOf(pid) ?? 'unknown').slice(0, 60) };
};

const holderFromLsof = (port: number): number | undefined => {
  const args = ['-nPt', `-iTCP:${port}`, '-sTCP:LISTEN'];
  const out = attempt(() => execFileSync('lsof', args, { encoding: 'utf8' })) ?? '';
  return Number(out.split('\n')[0]) || undefined;
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
  const [, ...lines] = (attempt(() => readFileSync(table, 'utf8')) ?? '').split('\n');
  return lines
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[1]?.endsWith(`:${hex}`) === true && fields[3] === LISTENING)
    .map((fields) => fields[9] ?? '');
};

const socketsOf = (pid: number): string[] =>
  (attempt(() => readdirSync(`/proc/${pid}/fd`)) ?? []).flatMap((fd) => {
    const link = attempt(() => readlinkSync(`/proc/${pid}/fd/${fd}`)) ?? '';
    return link.startsWith('socket:[') ? [link.slice('socket:['.length, -1)] : [];
  });

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { LocalFleet } from '@muster/fleet/fleet';
import type { Dialect } from './swarm.ts';

/** One server that fans out. */
export interface Contestant {
  readonly name: string;
  readonly pid: number;
  readonly port: number;
  /** Of its second replica; undefined where there is no such thing. */
  readonly otherPort: number | undefined;
  readonly dialect: Dialect;
}

const UPGRADED = '101 Switching';

/** Settings of the fleet under measurement: long pings, as the contestants have, and no limits of connections. */
export const FLEET_ENV = {
  LOG_LEVEL: 'warn',
  PING_INTERVAL_MS: '600000',
  MAX_CONNECTIONS: '20000',
  MAX_CONNECTIONS_PER_USER: '0',
  MAX_CONNECTIONS_PER_SESSION: '0',
  MAX_CONNECTIONS_PER_IP: '0',
  MAX_NEW_GROUPS_PER_MINUTE: '0',
  MAX_PUBLISHED_BYTES_PER_S: '0',
} as const;

/** Muster's first gateway, and beside it what others do for the same purpose. Two processes each, so that there are replicas. */
export const startContestants = async (
  fleet: LocalFleet,
  { stack, only }: { stack: AsyncDisposableStack; only: readonly string[] },
): Promise<Contestant[]> => {
  const about = fleet.describe();
  const [gateway, second] = about.gateways;
  if (gateway === undefined || second === undefined) throw new Error('the fleet has too few gateways');
  const token = await tokenFor(about);
  const isWanted = (name: string) => only.length === 0 || only.includes(name);

  const start = async (file: string): Promise<{ pid: number; port: number }> => {
    const child = fork(fileURLToPath(new URL(file, import.meta.url)), [about.redisUrl], {
      env: { ...process.env, NODE_ENV: 'production' },
    });
    stack.defer(() => void child.kill());
    const [{ port }] = (await once(child, 'message')) as [{ port: number }];
    return { port, pid: child.pid ?? 0 };
  };
  const peers: [name: string, file: string, dialect: Dialect, replicas: 1 | 2][] = [
    ['socket.io', './socket-io-server.ts', SOCKET_IO, 2],
    ['ws', './ws-server.ts', PLAIN_WS, 2],
    ['bare sockets', './raw-server.ts', BARE, 1],
  ];
  const contestants: Contestant[] = [];
  if (isWanted('muster')) {
    contestants.push({
      ...{ name: 'muster', pid: gateway.pid, dialect: musterDialect(token) },
      ...{ port: Number(new URL(gateway.url).port), otherPort: Number(new URL(second.url).port) },
    });
  }
  for (const [name, file, dialect, replicas] of peers) {
    if (!isWanted(name)) continue;
    const first = await start(file);
    const otherPort = replicas === 2 ? (await start(file)).port : undefined;
    contestants.push({ name, dialect, ...first, otherPort });
  }
  return contestants;
};

/** A session that may do what every signed-in client may. */
export const tokenFor = async (
  about: Pick<ReturnType<LocalFleet['describe']>, 'publicUrl' | 'serviceApiKey'>,
): Promise<string> => {
  const answer = await fetch(`${about.publicUrl}/v1/sessions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${about.serviceApiKey}`, 'content-type': 'application/json' },
    body: '{"user_id":"bench","transport":"bearer"}',
  });
  return ((await answer.json()) as { token: string }).token;
};

const musterDialect = (token: string): Dialect => ({
  path: '/connection/websocket',
  hello: [
    {
      after: UPGRADED,
      send: `{"id":1,"connect":{"token":"${token}"}}\n{"id":2,"subscribe":{"channel":"GROUP"}}`,
    },
  ],
  welcome: '"subscribe":{',
  publish: '{"id":SEQUENCE,"publish":{"channel":"GROUP","data":PAYLOAD}}',
});

const SOCKET_IO: Dialect = {
  path: '/socket.io/?EIO=4&transport=websocket',
  hello: [
    { after: '0{"sid"', send: '40' },
    { after: '40{"sid"', send: '42["join","GROUP"]' },
  ],
  welcome: '42["joined"]',
  publish: '42["publish","GROUP",PAYLOAD]',
};

const PLAIN_WS: Dialect = {
  path: '/?group=GROUP',
  hello: [{ after: UPGRADED, send: 'hello' }],
  welcome: 'welcome',
  publish: 'PAYLOAD',
};

const BARE: Dialect = { path: '/?group=GROUP', hello: [], welcome: UPGRADED, publish: 'PAYLOAD' };

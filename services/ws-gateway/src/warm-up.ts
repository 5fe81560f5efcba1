import { randomUUID } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { listen } from '@muster/http/listen';
import { every, TimeoutError, within } from '@muster/kit/clock';
import { createLogger } from '@muster/kit/logger';
import { createMetrics } from '@muster/kit/metrics';
import { openRedis, type RedisConnections } from '@muster/kit/redis/connection';
import type { Runtime } from '@muster/kit/runtime';
import { DEFAULT_TENANT } from '@muster/protocol/ids';
import { busKeys, emitSessionBusHeartbeat } from '@muster/session/session-events';
import { createSnapshotStore } from '@muster/session/session-snapshot';
import { createTenantHosts } from '@muster/session/tenant-hosts';
import { createTokenSigner, hashSecret, newSecret, newSessionId } from '@muster/session/token';
import { composeGateway } from './composition.ts';
import type { GatewayConfig } from './config/index.ts';
import { DEFAULT_OPTIONS } from './core/namespaces.ts';
import { createGatewayServer, type HttpServerDeps } from './http/server.ts';
import { serveSockets } from './socket/websocket-server.ts';

/*
 * The first thousands of handshakes of a process cost two to three times as much as the following ten thousand: V8 interprets code
 * before it compiles it. A gateway that is started during a reconnect storm would have this cost at the worst time. So before its
 * port opens, a second gateway in the same process serves clients of its own: the same functions, but separate Redis connections,
 * keys that expire, discarded metrics and logs, and no heartbeat, so it is invisible to aggregators, operators and clients.
 */

const CLIENTS = 2_000;
/** Clients at the same time. */
const CONCURRENCY = 32;
const SESSIONS = 500;
const GROUPS = 40;
/** Publications over the server API. */
const API_CALLS = 400;
/** Lifetime of the keys, in ms. */
const KEYS_TTL_MS = 60_000;
const HEARTBEAT_MS = 1_000;
/** A Redis that does not answer within this time is unavailable. */
const REDIS_TIMEOUT_MS = 1_000;
const API_KEY = randomUUID();
const SILENT = createLogger({ level: 'silent', service: 'warm-up', instance: '' });

export type WarmUpDeps = Runtime &
  Pick<HttpServerDeps, 'health' | 'about' | 'maxBodyBytes'> & { readonly writesDirectly: boolean };

/** Runs the code of handshakes, subscriptions and publications, for `warmUpMs` at most. Never rejects. */
export const warmUp = async (config: GatewayConfig, deps: WarmUpDeps): Promise<void> => {
  if (config.warmUpMs === 0) return;
  const { clock, log } = deps;
  const startedAt = clock.monotonic();
  const counts = { clients: 0, apiCalls: 0 };
  const stop = new AbortController();
  try {
    await within(config.warmUpMs, 'the warm-up', run(config, deps, counts, stop.signal));
  } catch (error) {
    // At the time limit it is as warm as it gets; anything else must not keep a gateway from starting.
    if (!(error instanceof TimeoutError)) log.warn({ error }, 'gateway.warm_up_skipped');
  }
  stop.abort();
  log.info({ ...counts, ms: Math.round(clock.monotonic() - startedAt) }, 'gateway.warmed_up');
};

interface Counts {
  clients: number;
  apiCalls: number;
}

const run = async (config: GatewayConfig, deps: WarmUpDeps, counts: Counts, signal: AbortSignal): Promise<void> => {
  const metrics = createMetrics({ service: 'warm-up', version: '', ofProcess: false });
  const prefix = `${config.redis.prefix}warm-up:${randomUUID()}:`;
  const name = `${config.common.instanceName}-warm-up`;
  await using stack = new AsyncDisposableStack();
  const redis = stack.use(await openRedis({ ...config.redis, prefix, name }, { log: SILENT, metrics }));
  await within(REDIS_TIMEOUT_MS, 'Redis', redis.ping());
  stack.use(sendHeartbeats(redis, deps));
  const port = await serve(config, deps, redis, metrics, stack);
  const tokens = await createSessions(redis, deps, config);

  let started = 0;
  const client = async (): Promise<void> => {
    const number = started;
    started += 1;
    await runClient(port, { token: tokens[number % SESSIONS] ?? '', group: `group-${number % GROUPS}` }, signal);
    counts.clients += 1;
  };
  const call = async (): Promise<void> => {
    counts.apiCalls += 1;
    const response = await fetch(`http://127.0.0.1:${port}/api/publish`, {
      ...{ method: 'POST', signal, headers: { 'x-api-key': API_KEY } },
      body: JSON.stringify({ channel: `group-${counts.apiCalls % GROUPS}`, data: counts.apiCalls }),
    });
    await response.arrayBuffer();
  };
  const lane = async (): Promise<void> => {
    while (started < CLIENTS && !signal.aborted) {
      await client();
      if (counts.apiCalls < API_CALLS) await call();
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, lane));
};

const serve = async (
  config: GatewayConfig,
  { clock, random, health, about, maxBodyBytes, writesDirectly }: WarmUpDeps,
  redis: RedisConnections,
  metrics: ReturnType<typeof createMetrics>,
  stack: AsyncDisposableStack,
): Promise<number> => {
  const retention = { size: 10, ttlMs: KEYS_TTL_MS, metaTtlMs: KEYS_TTL_MS };
  const own: GatewayConfig = {
    ...config,
    groups: { withoutNamespace: { ...DEFAULT_OPTIONS, retention }, namespaces: new Map() },
    personalGroups: undefined,
    tenantHosts: createTenantHosts([]),
    maxConnectionsPerIp: 0,
  };
  const gateway = stack.use(composeGateway(own, { clock, random, log: SILENT }, redis, metrics));
  const { engine, authenticator, handshakeQueue, instruments, rejections: refusals } = gateway;
  const serverApiKeys = () => [{ key: API_KEY, tenant: undefined }];
  const app = createGatewayServer({
    ...{ health, about, clock, log: SILENT, metrics, api: engine.api, serverApiKeys, refusals, maxBodyBytes },
  });
  const { server, port } = stack.use(await listen(app, { host: '127.0.0.1', port: 0 }));
  const sockets = serveSockets({
    ...{ server, engine, authenticator, handshakeQueue, writesDirectly, log: SILENT },
    rules: own,
    limits: own,
    gateway: config.common.instanceName,
    isBusUp: engine.bus.isUp,
    isDraining: () => false,
    onAddressLimitReached: () => {},
    onHandshake: instruments.handshake,
    onRejected: () => {},
  });
  stack.use(sockets);
  stack.defer(() => {
    for (const connection of [...engine.connections()]) connection.terminate();
  });
  return port;
};

/** Sessions in Redis only, not in Postgres. Returns their tokens. */
const createSessions = async (
  redis: RedisConnections,
  { clock, random }: WarmUpDeps,
  { sessionSecrets }: GatewayConfig,
): Promise<string[]> => {
  const signer = createTokenSigner(sessionSecrets);
  const snapshots = createSnapshotStore({ redis, clock });
  const now = clock.now();
  const create = async (_: unknown, index: number): Promise<string> => {
    const [id, secret] = [newSessionId(), newSecret(random)];
    await snapshots.put({
      ...{
        id,
        tenant: DEFAULT_TENANT,
        userId: `user-${index}`,
        kind: 'user',
        rev: 1,
        aal: 1,
        label: null,
        idleSeconds: 0,
      },
      ...{ createdAt: now, lastSeenAt: now, expiresAt: now + KEYS_TTL_MS, freshUntil: now + KEYS_TTL_MS },
      secretHash: hashSecret(secret).toString('base64url'),
    });
    return signer.issue(id, secret);
  };
  return Promise.all(Array.from({ length: SESSIONS }, create));
};

/** Heartbeats of the session bus, without which no session would be accepted from memory. */
const sendHeartbeats = (redis: RedisConnections, { clock }: WarmUpDeps): AsyncDisposable => {
  const { epoch } = busKeys(redis.prefix);
  const send = async (): Promise<void> => {
    await emitSessionBusHeartbeat({ redis }, 'warm-up', clock.now());
    await redis.lane().pexpire(epoch, KEYS_TTL_MS);
  };
  const sendQuietly = () => void send().catch(() => {});
  const stop = every(HEARTBEAT_MS, sendQuietly);
  sendQuietly();
  return {
    [Symbol.asyncDispose]: async () => {
      stop();
      await redis
        .lane()
        .del(epoch)
        .catch(() => {});
    },
  };
};

/** One client: upgrade, connect and subscribe in one frame, a publication, and the end of the socket. Never rejects. */
const runClient = (
  port: number,
  { token, group }: { readonly token: string; readonly group: string },
  signal: AbortSignal,
): Promise<void> =>
  new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', signal });
    let received = '';
    let step = 0;
    socket.on('error', () => {});
    socket.on('close', () => resolve());
    socket.on('data', (bytes) => {
      received += bytes.toString('latin1');
      while (step < STEPS.length && received.includes(STEPS[step]?.after ?? '')) {
        STEPS[step]?.act(socket, token, group);
        step += 1;
      }
    });
    socket.write(UPGRADE);
  });

const UPGRADE = [
  'GET /connection/websocket HTTP/1.1',
  'Host: 127.0.0.1',
  'Upgrade: websocket',
  'Connection: Upgrade',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Version: 13',
  '\r\n',
].join('\r\n');

/** The steps of a client, each after a part of what it has received. */
const STEPS: readonly { readonly after: string; act(socket: Socket, token: string, group: string): void }[] = [
  {
    after: '\r\n\r\n',
    act: (socket, token, group) => {
      const commands = [
        { id: 1, connect: { token } },
        { id: 2, subscribe: { channel: group } },
      ];
      socket.write(clientFrame(commands.map((command) => JSON.stringify(command)).join('\n')));
    },
  },
  {
    after: '"id":2',
    act: (socket, _, group) =>
      socket.write(clientFrame(JSON.stringify({ id: 3, publish: { channel: group, data: 0 } }))),
  },
  { after: '"id":3', act: (socket) => void socket.destroy() },
];

/** A text frame of a client of 126 to 65,535 bytes, padded with spaces if shorter; its mask of zeros leaves the text as it is. */
const clientFrame = (text: string): Buffer => {
  const payload = Buffer.from(text.padEnd(126));
  const head = Buffer.from([0x81, 0xfe, payload.length >> 8, payload.length & 0xff, 0, 0, 0, 0]);
  return Buffer.concat([head, payload]);
};

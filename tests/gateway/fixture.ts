import { once } from 'node:events';
import { request } from 'node:http';
import { withoutLocalStorage } from '@muster/client/quiet-globals';
import { systemClock } from '@muster/kit/clock';
import { systemRandom } from '@muster/kit/runtime';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { createInMemoryLog, type InMemoryLog } from '@muster/testkit/in-memory-log';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { createApp, type GatewayApp } from '@muster/ws-gateway/app';
import { readConfig } from '@muster/ws-gateway/config/index';
import { Centrifuge, type Options } from 'centrifuge';
import { afterAll, beforeAll } from 'vitest';
import { WebSocket } from 'ws';
import { readMetric } from '../observability/read-metric.ts';
import { INTERNAL_KEY, ORIGIN, SECRETS, startService, type TestService } from '../session/fixture.ts';

export const SERVER_KEY = 'server_0123456789-api-key';

/** A gateway under test with its addresses. */
export interface TestGateway extends AsyncDisposable {
  readonly app: GatewayApp;
  readonly log: InMemoryLog;
  readonly name: string;
  readonly url: string;
  readonly wsUrl: string;
  readonly opsUrl: string;
  /** Sum of all series of a metric, or the value of the series given with labels. */
  metric(name: string): Promise<number>;
  /** Reloads as SIGHUP does, with these variables added. Throws for an invalid configuration. */
  reload(more?: NodeJS.ProcessEnv): void;
}

export const gatewayEnvironment = (
  stores: { redisUrl: string; redisPrefix: string },
  sessionServiceUrl: string,
): NodeJS.ProcessEnv => ({
  NODE_ENV: 'test',
  PORT: '0',
  OPS_PORT: '0',
  LOG_LEVEL: 'silent',
  INSTANCE_NAME: 'gw-test',
  REDIS_URL: stores.redisUrl,
  REDIS_PREFIX: stores.redisPrefix,
  SESSION_SECRETS: SECRETS.join(','),
  SESSION_SERVICE_URL: sessionServiceUrl,
  INTERNAL_API_KEY: INTERNAL_KEY,
  PUBLIC_URL: ORIGIN,
  SERVER_API_KEYS: SERVER_KEY,
  DRAIN_ACCEPT_MS: '0',
});

/** Starts the real app on free ports. */
export const startGateway = async (
  stores: { redisUrl: string; redisPrefix: string },
  sessionServiceUrl: string,
  env: NodeJS.ProcessEnv = {},
): Promise<TestGateway> => {
  const log = createInMemoryLog();
  const read = (more: NodeJS.ProcessEnv = {}) =>
    readConfig({ ...gatewayEnvironment(stores, sessionServiceUrl), ...env, ...more });
  const config = read();
  const app = await createApp(config, { clock: systemClock, random: systemRandom, log });
  const opsUrl = `http://127.0.0.1:${app.opsPort}`;
  return {
    app,
    log,
    name: config.common.instanceName,
    url: `http://127.0.0.1:${app.port}`,
    wsUrl: `ws://127.0.0.1:${app.port}`,
    opsUrl,
    metric: (name) => readMetric(opsUrl, name),
    reload: (more) => app.reload(read(more)),
    [Symbol.asyncDispose]: () => app[Symbol.asyncDispose](),
  };
};

export interface FleetOptions {
  /** Variables of the gateways, or a function that prepares and returns them. */
  readonly env?: NodeJS.ProcessEnv | (() => NodeJS.ProcessEnv | Promise<NodeJS.ProcessEnv>);
  /** One gateway for each name. */
  readonly names?: readonly string[];
  /** Owner of `token`. */
  readonly user?: string;
}

/** Stores, a session service and gateways, started before the tests of a file and stopped after them. */
export const useFleet = ({ env = {}, names = ['gw-test'], user = 'u_test' }: FleetOptions = {}) => {
  const stores = useTestStores({ migrate });
  let sessions: TestService;
  let gateways: TestGateway[] = [];
  let token = '';
  beforeAll(async () => {
    sessions = await startService(stores);
    const variables = typeof env === 'function' ? await env() : env;
    gateways = await Promise.all(
      names.map((name) => startGateway(stores, sessions.opsUrl, { INSTANCE_NAME: name, ...variables })),
    );
    const account = { user_id: user, transport: 'bearer' };
    token = (await sessions.service('POST', '/v1/sessions', account)).body.token;
  });
  afterAll(async () => {
    for (const app of [...gateways, sessions]) await app?.[Symbol.asyncDispose]();
  });
  return {
    stores,
    get sessions(): TestService {
      return sessions;
    },
    get gateway(): TestGateway {
      return gateways[0] as TestGateway;
    },
    get second(): TestGateway {
      return gateways[1] as TestGateway;
    },
    /** Session token of `user`. */
    get token(): string {
      return token;
    },
  };
};

/** A socket with the frames that it received. */
export interface RawClient {
  readonly socket: WebSocket;
  /** Text frames, in order. */
  readonly frames: string[];
  readonly headers: Readonly<Record<string, unknown>>;
  readonly closed: Promise<{ code: number; reason: string }>;
  send(...commands: (object | string)[]): void;
  /** Waits for the message with this command id. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into JSON of every shape.
  reply(id: number): Promise<any>;
}

/** Opens a socket; rejects with the status and body of a refused upgrade. */
export const openSocket = async (
  url: string,
  headers: Record<string, string> = {},
  protocols: string[] = [],
): Promise<RawClient> => {
  const socket = new WebSocket(url, protocols, { headers });
  const frames: string[] = [];
  let answered: Record<string, unknown> = {};
  socket.on('message', (data) => frames.push(data.toString()));
  socket.on('upgrade', (response) => {
    answered = response.headers;
  });
  const closed = new Promise<{ code: number; reason: string }>((resolve) =>
    socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() })),
  );
  const opened = once(socket, 'open');
  opened.catch(() => {});
  await opened;
  socket.on('error', () => {});
  const messages = () => frames.flatMap((frame) => frame.split('\n')).map((text) => JSON.parse(text));
  return {
    socket,
    frames,
    headers: answered,
    closed,
    send: (...commands) =>
      socket.send(commands.map((one) => (typeof one === 'string' ? one : JSON.stringify(one))).join('\n')),
    reply: (id) => until(() => messages().find((one) => one.id === id), { what: `a reply to ${id}` }),
  };
};

/** The answer to an upgrade, accepted or not. */
export const tryUpgrade = async (
  url: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; headers: NodeJS.Dict<string | string[]>; body: string }> => {
  const answer = request(url.replace(/^ws/, 'http'), {
    headers: {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
      ...headers,
    },
  });
  answer.end();
  return new Promise((resolve, reject) => {
    answer.on('error', reject);
    answer.on('upgrade', (response, socket) => {
      socket.destroy();
      resolve({ status: 101, headers: response.headers, body: '' });
    });
    answer.on('response', (response) => {
      let body = '';
      response.on('data', (data) => {
        body += data;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
    });
  });
};

/** A WebSocket class that sends these headers, for SDKs in Node. */
export const webSocketWith = (headers: Record<string, string>): unknown =>
  class extends WebSocket {
    constructor(url: string | URL, protocols?: string | string[]) {
      super(url, protocols ?? [], { headers });
    }
  };

/** A client of the `centrifuge` SDK. */
export const sdk = (
  gateway: { readonly wsUrl: string },
  options: Partial<Options> & { headers?: Record<string, string> },
): Centrifuge => {
  const { headers = {}, ...rest } = options;
  return withoutLocalStorage(
    () =>
      new Centrifuge(`${gateway.wsUrl}/connection/websocket`, {
        websocket: webSocketWith(headers),
        minReconnectDelay: 50,
        maxReconnectDelay: 300,
        ...rest,
      }),
  );
};

/** Connects an SDK client, or rejects with the cause. */
export const connected = async <C extends Pick<Centrifuge, 'connect' | 'ready'>>(client: C): Promise<C> => {
  client.connect();
  await client.ready(15_000);
  return client;
};

/** Subscribes an SDK client and collects the payloads that it receives. */
// biome-ignore lint/suspicious/noExplicitAny: payloads of every shape.
export const listenTo = async (client: Centrifuge, group: string): Promise<any[]> => {
  // biome-ignore lint/suspicious/noExplicitAny: payloads of every shape.
  const received: any[] = [];
  const subscription = client.newSubscription(group);
  subscription.on('publication', ({ data }) => received.push(data));
  subscription.subscribe();
  await subscription.ready(15_000);
  return received;
};

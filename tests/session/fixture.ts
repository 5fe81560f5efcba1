import { systemClock } from '@muster/kit/clock';
import { systemRandom } from '@muster/kit/runtime';
import { createApp, type SessionServiceApp } from '@muster/session-service/app';
import { readConfig } from '@muster/session-service/config';
import { createInMemoryLog, type InMemoryLog } from '@muster/testkit/in-memory-log';
import { readMetric } from '../observability/read-metric.ts';

export const SERVICE_KEY = 'sk_0123456789-service-key';
export const INTERNAL_KEY = 'int_0123456789-internal-key';
export const SECRETS = ['test-session-secret-0123456789-abcdefgh', 'test-session-secret-old-9876543210-xyz'];
export const ORIGIN = 'http://localhost:8080';

/** An HTTP response with its body parsed. */
export interface ApiReply {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into JSON of every shape.
  readonly body: any;
}

/** A session service under test, and how to talk to it. */
export interface TestService extends AsyncDisposable {
  readonly app: SessionServiceApp;
  readonly log: InMemoryLog;
  readonly url: string;
  readonly opsUrl: string;
  call(method: string, path: string, options?: CallOptions): Promise<ApiReply>;
  /** With the service API key. */
  service(method: string, path: string, json?: unknown, headers?: Record<string, string>): Promise<ApiReply>;
  /** With a session token as bearer. */
  bearer(
    token: string,
    method: string,
    path: string,
    json?: unknown,
    headers?: Record<string, string>,
  ): Promise<ApiReply>;
  /** With a session cookie, from our own page. */
  cookie(
    cookie: string,
    method: string,
    path: string,
    json?: unknown,
    headers?: Record<string, string>,
  ): Promise<ApiReply>;
  internal(method: string, path: string, json?: unknown): Promise<ApiReply>;
  metric(name: string): Promise<number>;
}

export interface CallOptions {
  readonly headers?: Record<string, string>;
  readonly json?: unknown;
  readonly body?: string;
}

export const environment = (stores: {
  databaseUrl: string;
  redisUrl: string;
  redisPrefix: string;
}): NodeJS.ProcessEnv => ({
  NODE_ENV: 'test',
  PORT: '0',
  OPS_PORT: '0',
  LOG_LEVEL: 'silent',
  INSTANCE_NAME: 'session-test',
  DATABASE_URL: stores.databaseUrl,
  REDIS_URL: stores.redisUrl,
  REDIS_PREFIX: stores.redisPrefix,
  SESSION_SECRETS: SECRETS.join(','),
  SERVICE_API_KEYS: SERVICE_KEY,
  INTERNAL_API_KEY: INTERNAL_KEY,
  PUBLIC_URL: ORIGIN,
  GUEST_SESSIONS: 'on',
  TRUSTED_PROXIES: '127.0.0.1',
  PG_POOL_SIZE: '5',
  OUTBOX_POLL_MS: '100',
});

/** Starts the real app on free ports. */
export const startService = async (
  stores: { databaseUrl: string; redisUrl: string; redisPrefix: string },
  env: NodeJS.ProcessEnv = {},
): Promise<TestService> => {
  const log = createInMemoryLog();
  const config = readConfig({ ...environment(stores), ...env });
  const app = await createApp(config, { clock: systemClock, random: systemRandom, log });
  const url = `http://127.0.0.1:${app.port}`;
  const opsUrl = `http://127.0.0.1:${app.opsPort}`;
  const callAt = async (base: string, method: string, path: string, options: CallOptions = {}): Promise<ApiReply> => {
    const body = options.json === undefined ? options.body : JSON.stringify(options.json);
    const response = await fetch(base + path, {
      method,
      headers: {
        ...(options.json === undefined ? {} : { 'content-type': 'application/json' }),
        ...options.headers,
      },
      ...(body === undefined ? {} : { body }),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json') ?? false;
    return {
      status: response.status,
      headers: response.headers,
      body: isJson && text ? JSON.parse(text) : text,
    };
  };
  const withHeaders =
    (fixed: Record<string, string>, base = url) =>
    (method: string, path: string, json?: unknown, headers: Record<string, string> = {}) =>
      callAt(base, method, path, {
        headers: { ...fixed, ...headers },
        ...(json === undefined ? {} : { json }),
      });
  return {
    app,
    log,
    url,
    opsUrl,
    call: (method, path, options) => callAt(url, method, path, options),
    service: withHeaders({ authorization: `Bearer ${SERVICE_KEY}` }),
    bearer: (token, ...rest) => withHeaders({ authorization: `Bearer ${token}` })(...rest),
    cookie: (cookie, ...rest) => withHeaders({ cookie, origin: ORIGIN })(...rest),
    internal: withHeaders({ authorization: `Bearer ${INTERNAL_KEY}` }, opsUrl),
    metric: (name) => readMetric(opsUrl, name),
    [Symbol.asyncDispose]: () => app[Symbol.asyncDispose](),
  };
};

/** `name=value` of a Set-Cookie header, for the next request. */
export const cookieOf = (answer: ApiReply): string => (answer.headers.get('set-cookie') ?? '').split(';')[0] ?? '';

/** The token inside such a cookie. */
export const tokenOf = (cookie: string): string =>
  decodeURIComponent(cookie.slice(cookie.indexOf('=') + 1)).replace(/^s:/, '');

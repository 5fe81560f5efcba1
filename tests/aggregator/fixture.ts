import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { type AggregatorApp, createApp } from '@muster/health-aggregator/app';
import { readConfig } from '@muster/health-aggregator/config';
import { systemClock } from '@muster/kit/clock';
import { systemRandom } from '@muster/kit/runtime';
import { createInMemoryLog, type InMemoryLog } from '@muster/testkit/in-memory-log';

/** Intervals a quarter of the defaults, for both sides: 15 s become less than 4 s. */
export const FAST = {
  PROBE_INTERVAL_MS: '500',
  HEARTBEAT_INTERVAL_MS: '500',
  HEARTBEAT_TTL_MS: '1750',
  CHECK_INTERVAL_MS: '500',
};

/** Answer of an aggregator. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into JSON of every shape.
  readonly body: any;
}

/** An aggregator under test. */
export interface TestAggregator extends AsyncDisposable {
  readonly app: AggregatorApp;
  readonly log: InMemoryLog;
  readonly url: string;
  readonly opsUrl: string;
  request(path: string, init?: RequestInit): Promise<Answer>;
  /** State of an instance by name; undefined when it is not listed. */
  stateOf(name: string): Promise<string | undefined>;
}

/** Starts the real app on free ports. */
export const startAggregator = async (
  stores: { redisUrl: string; redisPrefix: string },
  env: NodeJS.ProcessEnv = {},
): Promise<TestAggregator> => {
  const log = createInMemoryLog();
  const config = readConfig({
    NODE_ENV: 'test',
    PORT: '0',
    OPS_PORT: '0',
    LOG_LEVEL: 'silent',
    INSTANCE_NAME: 'aggregator-test',
    REDIS_URL: stores.redisUrl,
    REDIS_PREFIX: stores.redisPrefix,
    EXPECTED: 'tiny=1',
    ...env,
  });
  const app = await createApp(config, { clock: systemClock, random: systemRandom, log });
  const url = `http://127.0.0.1:${app.port}`;
  const request = async (path: string, init: RequestInit = {}): Promise<Answer> => {
    const response = await fetch(url + path, init);
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json');
    return {
      status: response.status,
      headers: response.headers,
      body: isJson && text ? JSON.parse(text) : text,
    };
  };
  return {
    app,
    log,
    url,
    opsUrl: `http://127.0.0.1:${app.opsPort}`,
    request,
    stateOf: async (name) => {
      const { body } = await request('/v1/fleet');
      for (const { instances } of body.services) {
        for (const instance of instances) if (instance.name === name) return instance.state;
      }
      return undefined;
    },
    [Symbol.asyncDispose]: () => app[Symbol.asyncDispose](),
  };
};

const PROGRAM = fileURLToPath(new URL('./tiny-instance.ts', import.meta.url));

/** A real process that only sends heartbeats and answers probes. */
export interface TinyInstance extends AsyncDisposable {
  readonly name: string;
  readonly port: number;
  readonly opsPort: number;
  kill(signal: NodeJS.Signals): void;
  ended(): Promise<void>;
}

/** Starts an instance; resolves when it listens and has sent a heartbeat. */
export const startTiny = async (
  stores: { redisUrl: string; redisPrefix: string },
  env: Record<string, string> = {},
): Promise<TinyInstance> => {
  const name = env['INSTANCE_NAME'] ?? 'tiny-1';
  const child: ChildProcess = spawn(process.execPath, [PROGRAM], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      REDIS_URL: stores.redisUrl,
      REDIS_PREFIX: stores.redisPrefix,
      PORT: '0',
      OPS_PORT: '0',
      INSTANCE_NAME: name,
      ...env,
    },
  });
  const exited = once(child, 'exit');
  let text = '';
  while (!text.includes('\n')) {
    const [chunk] = (await Promise.race([
      once(child.stdout as NodeJS.ReadableStream, 'data'),
      exited.then(() => Promise.reject(new Error(`${name} ended before it was ready`))),
    ])) as [Buffer];
    text += chunk.toString();
  }
  const { port, opsPort } = JSON.parse(text) as { port: number; opsPort: number };
  return {
    name,
    port,
    opsPort,
    kill: (signal) => void child.kill(signal),
    ended: async () => void (await exited),
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
      await exited;
    },
  };
};

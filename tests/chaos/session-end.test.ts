import type { LocalFleet } from '@muster/fleet/fleet';
import { type DedicatedStore, openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { type FaultProxy, openFaultProxy } from '@muster/testkit/fault-proxy';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import { signInUser } from '../cluster/clients.ts';
import { startDedicatedFleet } from '../cluster/dedicated-fleet.ts';
import { pause } from './assert-delivery.ts';

const GATEWAYS = 3;
const RUNS = 200;
const GROUP = 'ends:all';
const TICK_MS = 20;
/** Bounds of the 99th percentile, and without Redis. */
const BOUND_MS = 250;
/** The bounds hold on a machine that answers a plain request within this time; they scale with it, up to a factor. */
const IDLE_MS = 25;
const MAX_LOAD_FACTOR = 4;
const NO_REDIS_BOUND_MS = 5_000;

let redis: DedicatedStore;
let proxy: FaultProxy;
let fleet: LocalFleet;

beforeAll(async () => {
  redis = await openDedicatedRedis({});
  proxy = await openFaultProxy(redis.url);
  fleet = await startDedicatedFleet({ REDIS_URL: proxy.url, MAX_COMMANDS_PER_S: '0' }, GATEWAYS);
});
afterAll(async () => {
  for (const one of [fleet, proxy, redis]) await one?.[Symbol.asyncDispose]();
});

/** One socket of a session, and the times at which the last things happened to it, on the clock of this process. */
interface Held {
  readonly socket: WebSocket;
  code: number;
  closedAt: number;
  /** When the newest publication that it got was made. */
  newestMadeAt: number;
}

const hold = async (url: string, token: string, kind: 'protocol' | 'plain'): Promise<Held> => {
  const isPlain = kind === 'plain';
  const address = `${url.replace(/^http/, 'ws')}${isPlain ? `/ws?group=${GROUP}` : '/connection/websocket'}`;
  const socket = new WebSocket(address, isPlain ? { headers: { authorization: `Bearer ${token}` } } : {});
  const held: Held = { socket, code: 0, closedAt: 0, newestMadeAt: 0 };
  let isIn = false;
  socket.on('error', () => {});
  socket.on('open', () => {
    isIn = isPlain;
    if (isPlain) return;
    socket.send(`{"id":1,"connect":{"token":"${token}"}}\n{"id":2,"subscribe":{"channel":"${GROUP}"}}`);
  });
  socket.on('message', (data) => {
    const text = data.toString();
    if (text.includes('"id":2')) isIn = true;
    for (const [, at] of text.matchAll(/"at":([\d.]+)/g)) held.newestMadeAt = Number(at);
    if (text === '{}') socket.send('{}');
  });
  socket.on('close', (code) => {
    held.code = code;
    held.closedAt = performance.now();
  });
  await until(() => isIn, { what: 'a socket that is in', intervalMs: 2, timeoutMs: 10_000 });
  return held;
};

/** Two sockets on every gateway, one of each kind. */
const everywhere = (token: string): Promise<Held[]> =>
  Promise.all(
    fleet.describe().gateways.flatMap(({ url }) => [hold(url, token, 'protocol'), hold(url, token, 'plain')]),
  );

const signInAs = async (user: string): Promise<{ id: string; token: string }> => {
  const { id, credential } = await signInUser(fleet.describe(), user);
  return { id, token: 'token' in credential ? credential.token : '' };
};

const end = async (id: string): Promise<void> => {
  const { publicUrl, serviceApiKey } = fleet.describe();
  const answer = await fetch(`${publicUrl}/v1/sessions/${id}?reason=admin`, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${serviceApiKey}` },
  });
  if (answer.status >= 300) throw new Error(`the end answered ${answer.status}: ${await answer.text()}`);
};

/** Publications, each with the time at which it was made, fifty a second, as long as `work` takes. */
const whileTicking = async <T>(work: () => Promise<T>): Promise<T> => {
  const { publicUrl, serverApiKey } = fleet.describe();
  const body = (): string => JSON.stringify({ channel: GROUP, data: { at: performance.now() } });
  const timer = setInterval(() => {
    const init = { method: 'POST', headers: { 'x-api-key': serverApiKey }, body: body() };
    fetch(`${publicUrl}/api/publish`, init).then(
      (answer) => answer.arrayBuffer(),
      () => {},
    );
  }, TICK_MS);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
};

interface End {
  readonly tookMs: number;
  /** Newest received publication, in ms after `DELETE` was answered; negative when it was made before. */
  readonly newestAfterMs: number;
  readonly codes: readonly number[];
  /** How long a plain request took right before. */
  readonly plainMs: number;
}

/** Time of a request without any work. */
const plainRequest = async (): Promise<number> => {
  const startedAt = performance.now();
  await (await fetch(`${fleet.describe().publicUrl}/readyz`)).arrayBuffer();
  return performance.now() - startedAt;
};

/** Ends one session and answers how long it took until its last socket was closed, in ms from the call. */
const oneEnd = async (number: number): Promise<End> => {
  const { id, token } = await signInAs(`u_end_${number}`);
  const sockets = await everywhere(token);
  const plainMs = await plainRequest();
  const startedAt = performance.now();
  await end(id);
  const answeredAt = performance.now();
  await until(() => sockets.every(({ closedAt }) => closedAt > 0), {
    what: 'all closed',
    intervalMs: 2,
    timeoutMs: 30_000,
  });
  return {
    tookMs: Math.max(...sockets.map(({ closedAt }) => closedAt)) - startedAt,
    newestAfterMs: Math.max(...sockets.map(({ newestMadeAt }) => newestMadeAt)) - answeredAt,
    codes: sockets.map(({ code }) => code),
    plainMs,
  };
};

const percentile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? 0;

test('[SX1] [SX3] [SX4] when a session ends, its six connections close within 250 ms and receive nothing made later, others stay', async ({
  skip,
}) => {
  const bystander = await signInAs('u_bystander');
  const bystanders = await everywhere(bystander.token);
  const runs = await whileTicking(async () => {
    const all: End[] = [];
    for (let run = 0; run < RUNS; run++) all.push(await oneEnd(run));
    return all;
  });
  const times = runs.map(({ tookMs }) => tookMs).sort((one, other) => one - other);
  const plain = runs.map(({ plainMs }) => plainMs).sort((one, other) => one - other);
  const loadFactor = Math.max(1, percentile(plain, 0.99) / IDLE_MS);
  const newest = runs.map(({ newestAfterMs }) => newestAfterMs).sort((one, other) => one - other);
  process.stdout.write(
    `session end to last socket closed, ${RUNS} runs: p50 ${percentile(times, 0.5).toFixed(1)} ms, ` +
      `p99 ${percentile(times, 0.99).toFixed(1)} ms, max ${times.at(-1)?.toFixed(1)} ms; ` +
      `newest received publication: p99 ${percentile(newest, 0.99).toFixed(1)} ms after the answer; ` +
      `a plain request: p50 ${percentile(plain, 0.5).toFixed(1)} ms, p99 ${percentile(plain, 0.99).toFixed(1)} ms\n`,
  );
  expect(new Set(runs.flatMap(({ codes }) => codes))).toEqual(new Set([4501]));
  expect(bystanders.filter(({ socket }) => socket.readyState !== socket.OPEN)).toEqual([]);
  for (const { socket } of bystanders) socket.terminate();
  if (loadFactor > MAX_LOAD_FACTOR) {
    const reason = `NOT MEASURED: a plain request takes ${loadFactor.toFixed(1)} times ${IDLE_MS} ms; at most ${MAX_LOAD_FACTOR} times is measured`;
    process.stdout.write(`[SX1] [SX3] ${reason}\n`);
    return skip(reason);
  }
  expect(percentile(times, 0.99)).toBeLessThanOrEqual(BOUND_MS * loadFactor);
  expect(percentile(newest, 0.99)).toBeLessThanOrEqual(BOUND_MS * loadFactor);
});

test('[SX2] [SX4] without Redis the last connection closes within 5 s, and others stay open', async () => {
  const [doomed, other] = [await signInAs('u_doomed'), await signInAs('u_other')];
  const [sockets, bystanders] = [await everywhere(doomed.token), await everywhere(other.token)];
  await proxy.blackhole();
  await pause(500);
  const startedAt = performance.now();
  await end(doomed.id);
  await until(() => sockets.every(({ closedAt }) => closedAt > 0), {
    what: 'all closed',
    intervalMs: 5,
    timeoutMs: 30_000,
  });
  const tookMs = Math.max(...sockets.map(({ closedAt }) => closedAt)) - startedAt;
  process.stdout.write(`session end to last socket closed, Redis away: ${tookMs.toFixed(0)} ms\n`);
  expect(sockets.map(({ code }) => code)).toEqual(sockets.map(() => 4501));
  expect(tookMs).toBeLessThanOrEqual(NO_REDIS_BOUND_MS);
  await proxy.pass();
  expect(bystanders.filter(({ socket }) => socket.readyState !== socket.OPEN)).toEqual([]);
  for (const { socket } of bystanders) socket.terminate();
});

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { LocalFleet } from '@muster/fleet/fleet';
import { openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { openFaultProxy } from '@muster/testkit/fault-proxy';
import { until } from '@muster/testkit/wait';
import { afterEach, expect, test } from 'vitest';
import { sdkClient, signInUser } from '../cluster/clients.ts';
import { startDedicatedFleet } from '../cluster/dedicated-fleet.ts';
import { recordStates, type StateRecorder } from './state-recorder.ts';

// The whole fleet as real processes, with the default settings.

let stack = new AsyncDisposableStack();
afterEach(async () => {
  await stack.disposeAsync();
  stack = new AsyncDisposableStack();
});

const begin = async (env: Record<string, string> = {}, gateways = 2, aggregators = 1) => {
  const fleet = stack.use(await startDedicatedFleet(env, gateways, aggregators));
  const [aggregator] = fleet.describe().healthAggregators;
  const url = aggregator?.url ?? '';
  // For every aggregator: a replica that dies before it was up is not an outage of its service.
  for (const each of fleet.describe().healthAggregators) {
    await until(async () => [await statusOf(`${each.url}/health?strict=1`), await statesOf(each.url)] as const, {
      ok: ([status, states]) =>
        status === 200 && states.length === everybody(fleet).length && states.every((state) => state === 'up'),
      what: `a fleet that is well, as ${each.name} sees it`,
      timeoutMs: 40_000,
    });
  }
  return { fleet, url, timeline: stack.use(recordStates(url)) };
};
const statesOf = async (url: string): Promise<string[]> => {
  const { services } = (await (await fetch(`${url}/v1/fleet`)).json()) as {
    services: { instances: { state: string }[] }[];
  };
  return services.flatMap(({ instances }) => instances.map(({ state }) => state));
};
const statusOf = async (url: string): Promise<number> => (await fetch(url)).status;
const everybody = (fleet: LocalFleet) => {
  const { gateways, sessionServices, healthAggregators } = fleet.describe();
  return [...gateways, ...sessionServices, ...healthAggregators];
};
/** Every instance is alive and ready, and none was reported dead. */
const expectAllReady = async (fleet: LocalFleet, timeline: StateRecorder): Promise<void> => {
  for (const { name, url, opsUrl } of everybody(fleet)) {
    expect([name, await statusOf(`${url}/readyz`)]).toEqual([name, 200]);
    expect([name, await statusOf(`${opsUrl}/livez`)]).toEqual([name, 200]);
    expect([name, await statusOf(`${opsUrl}/startupz`)]).toEqual([name, 200]);
  }
  expect(timeline.namesEverIn('down'), timeline.text()).toEqual([]);
};
const storeSeen = async (url: string, store: string, word: string): Promise<number> => {
  const since = performance.now();
  await until(
    async () => {
      const { dependencies } = (await (await fetch(`${url}/v1/fleet`)).json()) as {
        dependencies: Record<string, { status: string }>;
      };
      return dependencies[store]?.status;
    },
    { ok: (status) => status === word, what: `${store} to be ${word}`, timeoutMs: 15_000 },
  );
  return performance.now() - since;
};

test('[CH3] [CH4] when Redis, Postgres or both are unreachable, the store is down and every replica stays ready', async () => {
  const { fleet, url, timeline } = await begin();
  const { credential } = await signInUser(fleet.describe(), 'ann');
  using client = await sdkClient(fleet.publicUrl, credential);
  await client.subscribe('lobby');
  const closes: string[] = [];
  client.client.on('connecting', ({ code, reason }) => closes.push(`${code} ${reason}`));
  client.client.on('disconnected', ({ code, reason }) => closes.push(`${code} ${reason}`));
  const table: [readonly string[], string, number, number][] = [
    [['redis'], 'redis', 200, 503],
    [['postgres'], 'database', 200, 503],
    [['redis', 'postgres'], 'database', 503, 503],
  ];
  for (const [halted, store, health, strict] of table) {
    await Promise.all(halted.map((name) => fleet.halt(name)));
    expect(await storeSeen(url, store, 'down'), `${halted} halted`).toBeLessThanOrEqual(4_500);
    if (halted.includes('redis')) await storeSeen(url, 'redis', 'down');
    // Longer than the TTL of heartbeats, so that no good state is left from before.
    await sleep(8_000);
    const seen = async () => ({
      health: await statusOf(`${url}/health`),
      strict: await statusOf(`${url}/health?strict=1`),
      targets: await statusOf(`${url}/sd/prometheus`),
      frozen: ((await (await fetch(`${url}/v1/fleet`)).json()) as { frozen: boolean }).frozen,
    });
    const wanted = { health, strict, targets: 200, frozen: halted.includes('redis') };
    await until(seen, {
      ok: (now) => isDeepStrictEqual(now, wanted),
      what: `what is shown without ${halted.join(' and ')}: ${JSON.stringify(wanted)}`,
    });
    await expectAllReady(fleet, timeline);
    expect([halted, closes], timeline.text()).toEqual([halted, []]);
    await Promise.all(halted.map((name) => fleet.resume(name)));
    await until(() => statusOf(`${url}/health?strict=1`), {
      ok: (status) => status === 200,
      what: `recovery from ${halted}`,
      timeoutMs: 60_000,
    });
  }
  expect(closes).toEqual([]);
});

test('[CH5] when one gateway alone loses Redis, it leaves the pool, the other stays, and it returns with Redis', async () => {
  const redis = stack.use(await openDedicatedRedis());
  const proxy = stack.use(await openFaultProxy(redis.url, { only: /ws-gateway-1/ }));
  const { fleet } = await begin({ REDIS_URL: proxy.url });
  const [one, two] = fleet.describe().gateways;
  const startedAt = performance.now();
  await proxy.blackhole();
  const seen = new Set<number>();
  await until(
    async () => {
      seen.add(await statusOf(`${two?.url}/readyz`));
      return statusOf(`${one?.url}/readyz`);
    },
    { ok: (status) => status === 503, what: 'it to leave', timeoutMs: 40_000, intervalMs: 100 },
  );
  expect(performance.now() - startedAt).toBeLessThanOrEqual(16_000);
  await sleep(5_000);
  seen.add(await statusOf(`${two?.url}/readyz`));
  expect([...seen]).toEqual([200]);
  await proxy.pass();
  await until(() => statusOf(`${one?.url}/readyz`), {
    ok: (status) => status === 200,
    what: 'it to come back',
    timeoutMs: 30_000,
  });
});

interface Hook {
  readonly id: string;
  readonly type: string;
  readonly epoch: number;
  readonly incident: { readonly id: string; readonly subject: string };
}

/** Receives webhooks; answers with the given delay and status. */
const openReceiver = async (answers: readonly { readonly status: number; readonly lateMs: number }[] = []) => {
  const hooks: Hook[] = [];
  let turn = 0;
  const server = createServer((req, res) => {
    let text = '';
    req.on('data', (chunk) => {
      text += chunk;
    });
    req.on('end', () => {
      const { status, lateMs } = answers[turn] ?? { status: 204, lateMs: 0 };
      turn += 1;
      hooks.push({ ...JSON.parse(text), id: String(req.headers['webhook-id']) });
      setTimeout(() => res.writeHead(status).end(), lateMs);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stack.defer(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { hooks, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` };
};

const leaderOf = async (url: string): Promise<{ name: string; epoch: number } | null> =>
  ((await (await fetch(`${url}/v1/fleet`)).json()) as { leader: { name: string; epoch: number } | null }).leader;

/** The leader and the other aggregator. */
const leadersOf = async (fleet: LocalFleet) => {
  const all = fleet.describe().healthAggregators;
  const leader = await until(() => leaderOf(all[0]?.url ?? ''), { what: 'a leader', timeoutMs: 15_000 });
  const first = all.find(({ name }) => name === leader?.name);
  const second = all.find(({ name }) => name !== leader?.name);
  if (!leader || !first || !second) throw new Error('two aggregators are needed');
  return { leader, first, second };
};
const untilNextLeads = (second: { name: string; url: string }, epoch: number) =>
  until(() => leaderOf(second.url), {
    ok: (leader) => leader?.name === second.name && leader.epoch > epoch,
    what: 'the other to lead',
    timeoutMs: 20_000,
  });
const openIncidents = async (url: string): Promise<{ id: string; subject: string }[]> =>
  (
    (await (await fetch(`${url}/v1/incidents?state=open`)).json()) as {
      items: { id: string; subject: string }[];
    }
  ).items;

test('[CH6] when the leader is killed during an incident, another leads within 8 s, continues it, and sends no webhook twice', async () => {
  const receiver = await openReceiver();
  const { fleet } = await begin({ WEBHOOK_URLS: receiver.url }, 2, 2);
  const { leader, first, second } = await leadersOf(fleet);
  fleet.kill('ws-gateway-1', 'SIGKILL');
  await fleet.halt('ws-gateway-1');
  await until(() => receiver.hooks.length, { what: 'the incident to be told', timeoutMs: 30_000 });
  const incident = await until(
    async () => (await openIncidents(second.url)).find(({ subject }) => subject === 'ws-gateway'),
    { what: 'the other to know of it', timeoutMs: 15_000 },
  );

  const killedAt = performance.now();
  fleet.kill(first.name, 'SIGKILL');
  await fleet.halt(first.name);
  const next = await untilNextLeads(second, leader.epoch);
  expect(performance.now() - killedAt).toBeLessThanOrEqual(8_500);
  expect(next?.epoch).toBe(leader.epoch + 1);
  // Long enough for the new leader to open it again, had it not adopted it.
  await sleep(8_000);
  expect((await openIncidents(second.url)).map(({ id }) => id)).toContain(incident?.id);
  const told = receiver.hooks.map(({ id }) => id);
  expect(new Set(told).size, JSON.stringify(receiver.hooks)).toBe(told.length);
  const openings = receiver.hooks.filter(
    ({ type, incident: { subject } }) => type === 'incident.opened' && subject === 'ws-gateway',
  );
  expect(openings).toHaveLength(1);
});

test('[CH7] a leader that was frozen for 20 s follows the new leader, and sends no webhook twice', async () => {
  const receiver = await openReceiver();
  const { fleet } = await begin({ WEBHOOK_URLS: receiver.url }, 2, 2);
  const { leader, first, second } = await leadersOf(fleet);
  fleet.kill(first.name, 'SIGSTOP');
  stack.defer(() => fleet.kill(first.name, 'SIGCONT'));
  const frozenAt = performance.now();
  await untilNextLeads(second, leader.epoch);
  expect(performance.now() - frozenAt).toBeLessThanOrEqual(8_500);
  fleet.kill('ws-gateway-1', 'SIGKILL');
  await fleet.halt('ws-gateway-1');
  await until(() => receiver.hooks.length, { what: 'the incident to be told', timeoutMs: 30_000 });
  await sleep(Math.max(0, 20_000 - (performance.now() - frozenAt)));
  fleet.kill(first.name, 'SIGCONT');
  await until(() => leaderOf(first.url), {
    ok: (one) => one?.name === second.name,
    what: 'the old leader to know',
    timeoutMs: 15_000,
  });
  await sleep(8_000);
  const told = receiver.hooks.map(({ id }) => id);
  expect(new Set(told).size, JSON.stringify(receiver.hooks)).toBe(told.length);
  expect(new Set(receiver.hooks.map(({ epoch }) => epoch))).toEqual(new Set([leader.epoch + 1]));
});

test('[CH11] given a webhook receiver that is slow and then fails, no probe is delayed and every event is delivered', async () => {
  const receiver = await openReceiver([
    { status: 200, lateMs: 10_000 },
    { status: 500, lateMs: 0 },
  ]);
  const { fleet, timeline } = await begin({ WEBHOOK_URLS: receiver.url });
  fleet.kill('ws-gateway-1', 'SIGKILL');
  await fleet.halt('ws-gateway-1');
  await until(() => receiver.hooks.length, { what: 'the first try', timeoutMs: 60_000 });
  // Another instance dies while the receiver delays every delivery.
  const killedAt = performance.now();
  fleet.kill('session-service-1', 'SIGKILL');
  await fleet.halt('session-service-1');
  const seen = await timeline.untilState('session-service-1', ['suspect', 'down'], killedAt);
  expect(seen, timeline.text()).toBeLessThanOrEqual(3_500);
  await until(() => receiver.hooks.filter(({ incident }) => incident.subject === 'ws-gateway').length >= 2, {
    what: 'the repetition',
    timeoutMs: 60_000,
  });
  await until(() => receiver.hooks.some(({ incident }) => incident.subject === 'session-service'), {
    what: 'the second incident',
    timeoutMs: 60_000,
  });
});

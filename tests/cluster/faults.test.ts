import type { LocalFleet } from '@muster/fleet/fleet';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { endOwnSession, onDifferentGateways, sdkClient, signInUser } from './clients.ts';
import { startDedicatedFleet } from './dedicated-fleet.ts';

let fleet: LocalFleet;
let about: ReturnType<LocalFleet['describe']>;

beforeAll(async () => {
  fleet = await startDedicatedFleet();
  about = fleet.describe();
});
afterAll(() => fleet[Symbol.asyncDispose]());

interface FleetView {
  readonly services: readonly {
    readonly service: string;
    readonly instances: readonly { name: string; state: string }[];
  }[];
}

const json = async <T>(url: string, init?: RequestInit): Promise<T> => (await fetch(url, init)).json() as Promise<T>;
const gatewayStates = async (): Promise<Record<string, string>> => {
  const view = await json<FleetView>(`${fleet.publicUrl}/v1/fleet`);
  const gateways = view.services.find(({ service }) => service === 'ws-gateway')?.instances ?? [];
  return Object.fromEntries(gateways.map(({ name, state }) => [name, state]));
};
const pids = () => fleet.describe().gateways.map(({ pid }) => pid);
const everybody = () => {
  const { gateways, sessionServices, healthAggregators } = fleet.describe();
  return [...gateways, ...sessionServices, ...healthAggregators];
};
const healthOf = async (url: string) => (await json<{ status: string }>(`${url}/health`)).status;
const allHealthy = async () => Promise.all(everybody().map(({ url }) => healthOf(url)));

test('[FD1] [CH1] [LA10] when a gateway is killed, its clients reconnect, /v1/fleet shows it within 5 s, and it restarts', async () => {
  const { credential } = await signInUser(about, 'ann');
  const [one, two] = await onDifferentGateways([
    () => sdkClient(fleet.publicUrl, credential),
    () => sdkClient(fleet.publicUrl, credential),
  ]);
  using _one = one;
  using _two = two;
  const [atOne, atTwo] = [await one.subscribe('news'), await two.subscribe('news')];
  const victim = one.gateway();
  const before = pids();
  await until(gatewayStates, { ok: (states) => states[victim] === 'up', what: 'the victim to be up first' });

  const killedAt = performance.now();
  fleet.kill(victim, 'SIGKILL');
  await until(gatewayStates, {
    ok: (states) => states[victim] !== 'up',
    what: 'the loss to show',
    timeoutMs: 5_000,
  });
  expect(performance.now() - killedAt).toBeLessThan(5_000);

  await one.client.ready(10_000);
  await atOne.subscription.ready(10_000);
  await atTwo.subscription.publish('after the crash');
  await until(async () => atOne.received.at(-1)?.data, {
    ok: (data) => data === 'after the crash',
    what: 'the publication',
  });
  expect(two.client.state).toBe('connected');

  await until(gatewayStates, {
    ok: (states) => states[victim] === 'up',
    what: 'the restart',
    timeoutMs: 15_000,
  });
  expect(pids()).not.toEqual(before);
});

test('[CH3] when Redis stops and starts, connections stay, rejections are temporary, and the fleet recovers', async () => {
  const { credential } = await signInUser(about, 'bob');
  using client = await sdkClient(fleet.publicUrl, credential);
  const { subscription, received } = await client.subscribe('news');
  const before = everybody().map(({ pid }) => pid);

  await fleet.halt('redis');
  await until(allHealthy, {
    ok: (all) => all.every((one) => one === 'degraded'),
    what: 'everybody to say degraded',
  });
  await expect(subscription.publish('lost')).rejects.toMatchObject({ code: 100, temporary: true });
  for (const { url } of everybody()) expect((await fetch(`${url}/readyz`)).status).toBe(200);
  // The truth is in Postgres: a session is still known, and one that ends now is ended.
  const bearer = { authorization: `Bearer ${'token' in credential ? credential.token : ''}` };
  expect((await fetch(`${fleet.publicUrl}/v1/session`, { headers: bearer })).status).toBe(200);
  const other = await signInUser(about, 'bob');
  expect((await endOwnSession(fleet.publicUrl, other.credential)).status).toBe(202);

  await fleet.resume('redis');
  await until(allHealthy, {
    ok: (all) => all.every((one) => one === 'healthy'),
    what: 'everybody to be healthy',
    timeoutMs: 20_000,
  });
  expect(everybody().map(({ pid }) => pid)).toEqual(before);
  expect(client.client.state).toBe('connected');
  await until(
    async () => {
      await subscription.publish('healed').catch(() => {});
      return received.at(-1)?.data;
    },
    { ok: (data) => data === 'healed', what: 'a publication after Redis is ready again' },
  );
  await expect(sdkClient(fleet.publicUrl, other.credential)).rejects.toThrow();
});

test('[CH4] [SE19] when Postgres stops and starts, live sessions work, new sessions get 503, and the fleet recovers', async () => {
  const { credential } = await signInUser(about, 'cay');
  using client = await sdkClient(fleet.publicUrl, credential);
  const { subscription, received } = await client.subscribe('news');
  const before = everybody().map(({ pid }) => pid);
  const [service] = about.sessionServices;

  await fleet.halt('postgres');
  await until(() => healthOf(service?.url ?? ''), {
    ok: (status) => status === 'degraded',
    what: 'the service to say degraded',
  });
  const refused = await fetch(`${fleet.publicUrl}/v1/sessions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${about.serviceApiKey}`, 'content-type': 'application/json' },
    body: '{"user_id":"dan"}',
  });
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, expect.stringMatching(/^\d+$/)]);
  const bearer = { authorization: `Bearer ${'token' in credential ? credential.token : ''}` };
  expect((await fetch(`${fleet.publicUrl}/v1/session`, { headers: bearer })).status).toBe(200);
  await subscription.publish('meanwhile');
  await until(async () => received.at(-1)?.data, {
    ok: (data) => data === 'meanwhile',
    what: 'a publication without Postgres',
  });
  using late = await sdkClient(fleet.publicUrl, credential);
  expect(late.client.state).toBe('connected');

  await fleet.resume('postgres');
  await until(allHealthy, {
    ok: (all) => all.every((one) => one === 'healthy'),
    what: 'everybody to be healthy',
    timeoutMs: 20_000,
  });
  expect(everybody().map(({ pid }) => pid)).toEqual(before);
  expect((await signInUser(about, 'dan')).id).toMatch(/^[0-9a-f-]{36}$/);
});

import { randomUUID } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRealtime, type RealtimeOptions } from '@muster/client/realtime';
import { until } from '@muster/testkit/wait';
import type { Centrifuge, Subscription } from 'centrifuge';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { SERVER_KEY, type TestGateway, useFleet } from '../gateway/fixture.ts';
import { openShedDirectives, type ShedDirectives } from '../gateway/shed-directives.ts';

const file = join(tmpdir(), `muster-moves-${process.pid}.json`);
const all = { permissive: true, presence: true, join_leave: true };
const fleet = useFleet({
  names: ['gw-first', 'gw-second'],
  user: 'ann',
  env: () => {
    const compact = { ...all, name: 'compact', channel_compaction: 'json', allowed_delta_types: ['fossil'] };
    writeFileSync(file, JSON.stringify({ without_namespace: all, namespaces: [compact, { ...all, name: 'user' }] }));
    return { GROUPS_FILE: file, PERSONAL_GROUPS: 'user:#', HEARTBEAT_INTERVAL_MS: '100' };
  },
});
let directives: ShedDirectives;
let clients: Centrifuge[] = [];
beforeAll(() => {
  directives = openShedDirectives(fleet.stores);
});
afterAll(() => {
  directives[Symbol.dispose]();
  rmSync(file, { force: true });
});
afterEach(() => {
  for (const client of clients) client.disconnect();
  clients = [];
});

const other = ({ name }: TestGateway) => (name === fleet.gateway.name ? fleet.second : fleet.gateway);
const api = async (method: string, params: object) => {
  const init = { method: 'POST', headers: { 'x-api-key': SERVER_KEY }, body: JSON.stringify(params) };
  return (await fetch(`${fleet.gateway.url}/api/${method}`, init)).json();
};
const publish = (channel: string, data: unknown) => api('publish', { channel, data });

/** A client behind a load balancer that selects `route.to`. */
const connect = async (options: Partial<RealtimeOptions> = {}) => {
  const route = { to: fleet.gateway as { wsUrl: string } };
  const events: string[] = [];
  const moves: { client: string; gateway: string }[] = [];
  class Routed extends WebSocket {
    constructor(url: string) {
      super(url.replace('ws://fleet', route.to.wsUrl));
    }
  }
  const client = createRealtime({
    ...{ baseUrl: 'http://fleet', token: fleet.token, onMoved: (move) => moves.push(move), ...options },
    sdk: { websocket: Routed, minReconnectDelay: 50, maxReconnectDelay: 300 },
  });
  clients.push(client);
  let first = '';
  client.on('connected', (context) => {
    first = context.client;
    events.push('connected');
  });
  for (const event of ['connecting', 'disconnected', 'subscribing', 'unsubscribed'] as const)
    client.on(event, () => events.push(event));
  client.on('error', ({ error }) => events.push(`error ${error.message}`));
  const watch = (subscription: Subscription) => {
    const received: { data: unknown; offset: number }[] = [];
    subscription.on('publication', ({ data, offset = 0 }) => received.push({ data, offset }));
    for (const event of ['subscribing', 'unsubscribed', 'error'] as const)
      subscription.on(event, () => events.push(`${event} ${subscription.channel}`));
    return received;
  };
  const subscribe = async (channel: string, sdk = {}) => {
    const subscription = client.newSubscription(channel, sdk);
    const received = watch(subscription);
    subscription.subscribe();
    await subscription.ready(10_000);
    return { subscription, received };
  };
  client.connect();
  await client.ready(10_000);
  const moveTo = async (target: TestGateway): Promise<void> => {
    const before = moves.length;
    route.to = target;
    await directives.shed(other(target).name);
    await until(() => moves.length > before, { what: `the move to ${target.name}`, timeoutMs: 15_000 });
  };
  return { client, route, events, moves, subscribe, moveTo, firstId: () => first };
};

/** Publishes numbers to groups until it is stopped; resolves with how many. */
const startPublishing = (...channels: string[]) => {
  let count = 0;
  let isStopped = false;
  const running = (async () => {
    while (!isStopped) {
      count += 1;
      await Promise.all(channels.map((channel) => publish(channel, count)));
    }
    return count;
  })();
  return () => {
    isStopped = true;
    return running;
  };
};
const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

test('[CV1] [CV2] [CV3] given a client with subscriptions and commands, when it is moved ten times, then the SDK emits nothing, and nothing is lost or received twice', async () => {
  const room = `room-${randomUUID()}`;
  const { client, events, moves, subscribe, moveTo, firstId } = await connect();
  const personal: unknown[] = [];
  client.on('publication', ({ data }) => personal.push(data));
  const { received } = await subscribe(room);
  const echo = await subscribe(`echo-${room}`);
  events.length = 0;

  const stop = startPublishing(room, 'user:#ann');
  let isMoving = true;
  let sent = 0;
  const commands = (async () => {
    while (isMoving) {
      sent += 1;
      await client.publish(`echo-${room}`, sent);
    }
  })();
  const absent: unknown[] = [];
  const presence = (async () => {
    while (isMoving) {
      const { result } = await api('presence', { channel: room });
      if (Object.keys(result.presence).length === 0) absent.push(result);
    }
  })();
  for (let round = 0; round < 5; round += 1) {
    await moveTo(fleet.second);
    await moveTo(fleet.gateway);
  }
  isMoving = false;
  await Promise.all([commands, presence]);
  const published = await stop();
  await until(() => received.length >= published && personal.length >= published && echo.received.length >= sent, {
    what: 'the last publications',
  });
  expect(received.map(({ data }) => data)).toEqual(upTo(published));
  expect(received.map(({ offset }) => offset)).toEqual(upTo(published));
  expect(personal).toEqual(upTo(published));
  expect(echo.received.map(({ data }) => data)).toEqual(upTo(sent));
  expect([events, absent]).toEqual([[], []]);
  expect(moves.map(({ gateway }) => gateway)).toEqual(
    Array.from({ length: 10 }, (_, n) => (n % 2 ? 'gw-first' : 'gw-second')),
  );
  expect(new Set([firstId(), ...moves.map((move) => move.client)]).size).toBe(11);
  expect(Object.keys((await client.presence(room)).clients)).toEqual([moves.at(-1)?.client]);
  for (const gateway of [fleet.gateway, fleet.second]) {
    expect(await gateway.metric('gateway_rebalanced_connections_total{result="moved"}')).toBe(5);
    expect(await gateway.metric('gateway_disconnects_total{initiator="network",code="1006"}')).toBe(0);
  }
}, 60_000);

test('[CV5] given deltas and channel compaction, when the client is moved, then its publications are complete', async () => {
  const room = `compact:${randomUUID()}`;
  const { events, subscribe, moveTo } = await connect();
  const { received } = await subscribe(room, { delta: 'fossil' });
  events.length = 0;
  const document = (version: number) => ({ text: 'the same long text '.repeat(20), version });
  let version = 0;
  const publishSome = async () => {
    for (let index = 0; index < 5; index += 1) {
      version += 1;
      await api('publish', { channel: room, data: document(version), delta: true });
    }
  };
  await publishSome();
  await Promise.all([moveTo(fleet.second), publishSome()]);
  await publishSome();
  await Promise.all([moveTo(fleet.gateway), publishSome()]);
  await publishSome();
  await until(() => received.length >= version, { what: 'the last publication' });
  expect(received.map(({ data }) => data)).toEqual(upTo(version).map(document));
  expect(events).toEqual([]);
}, 60_000);

test('[CV4] given a next gateway that cannot be reached, when a move is requested, then the client stays until it is closed, and recovers', async () => {
  const room = `room-${randomUUID()}`;
  const { client, route, events, moves, subscribe } = await connect();
  const { received, subscription } = await subscribe(room);
  events.length = 0;
  route.to = { wsUrl: 'ws://127.0.0.1:9' };
  const stop = startPublishing(room);
  await directives.shed('gw-first');
  await until(() => events.includes('connecting'), { what: 'the close after five seconds', timeoutMs: 20_000 });
  route.to = fleet.second;
  await subscription.ready(10_000);
  const published = await stop();
  await until(() => received.length >= published, { what: 'the last publication' });
  expect(received.map(({ data }) => data)).toEqual(upTo(published));
  expect([moves, client.state]).toEqual([[], 'connected']);
}, 60_000);

test('[CV6] given a session that ends while its clients are moved, then they are notified and do not reconnect', async () => {
  const account = { user_id: 'bob', transport: 'bearer' };
  const { id, token } = (await fleet.sessions.service('POST', '/v1/sessions', account)).body;
  const reasons: string[] = [];
  const several = await Promise.all(
    Array.from({ length: 5 }, () => connect({ token, onSignedOut: (reason) => reasons.push(reason) })),
  );
  for (const { route } of several) route.to = fleet.second;
  await directives.shed('gw-first', { perSecond: 20 });
  await until(() => several.some(({ moves }) => moves.length > 0), { what: 'the first move', timeoutMs: 15_000 });
  await fleet.sessions.service('DELETE', `/v1/sessions/${id}`);
  await until(() => reasons.length === 5, { what: 'the end of all connections', timeoutMs: 10_000 });
  expect(several.map(({ client }) => client.state)).toEqual(several.map(() => 'disconnected'));
}, 60_000);

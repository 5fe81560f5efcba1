import { until } from '@muster/testkit/wait';
import type { Centrifuge } from 'centrifuge';
import { afterEach, describe, expect, test } from 'vitest';
import { connected, listenTo, SERVER_KEY, sdk, type TestGateway, useFleet } from './fixture.ts';

const open: Centrifuge[] = [];
let rooms = 0;

const fleet = useFleet({ names: ['gw-1', 'gw-2'] });
afterEach(() => {
  for (const client of open.splice(0)) client.disconnect();
});

const newRoom = () => `api:${++rooms}`;
const post = async (method: string, body: unknown, headers: Record<string, string> = { 'x-api-key': SERVER_KEY }) => {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const answer = await fetch(`${fleet.gateway.url}/api/${method}`, { method: 'POST', headers, body: text });
  const content = await answer.text();
  // biome-ignore lint/suspicious/noExplicitAny: tests look into JSON of every shape.
  const json: any = content.startsWith('{') ? JSON.parse(content) : undefined;
  return { status: answer.status, content, json };
};
const call = async (method: string, body: unknown) => (await post(method, body)).json;

const client = async (gateway: TestGateway, user: string) => {
  const { body } = await fleet.sessions.service('POST', '/v1/sessions', {
    user_id: user,
    transport: 'bearer',
  });
  const sdkClient = await connected(sdk(gateway, { token: body.token }));
  open.push(sdkClient);
  return { sdkClient, session: body.id as string };
};

describe('calls', () => {
  test('[AP1] [AP24] given keys in any form, when a back end calls a method, then a valid key is accepted and an invalid key is rejected with 401', async () => {
    for (const headers of [
      {},
      { 'x-api-key': 'wrong' },
      { 'x-api-key': '' },
      { authorization: `Bearer ${SERVER_KEY}` },
    ]) {
      expect(await post('info', {}, headers)).toMatchObject({ status: 401, content: '' });
      expect(await post('nonsense', '{', headers)).toMatchObject({ status: 401, content: '' });
    }
    expect((await post('info', {}, { authorization: `apikey ${SERVER_KEY}` })).status).toBe(200);
    const byQuery = await fetch(`${fleet.gateway.url}/api/info?api_key=${SERVER_KEY}`, {
      method: 'POST',
      body: '{}',
    });
    expect(byQuery.status).toBe(200);
    expect((await fetch(`${fleet.gateway.url}/api/info`)).status).toBe(405);
  });

  test('[AP2] [AP25] [AP26] given errors, when a call fails, then the status is 200, that of the error mode, or 400 for a malformed body', async () => {
    expect(await post('dance', {})).toMatchObject({
      status: 200,
      json: { error: { code: 104, message: 'method not found' } },
    });
    const transport = { 'x-api-key': SERVER_KEY, 'x-centrifugo-error-mode': 'transport' };
    expect(await post('dance', {}, transport)).toMatchObject({ status: 404, json: { code: 104 } });
    for (const body of ['{', '[]', '"x"', 'null']) expect((await post('publish', body)).status).toBe(400);
    expect((await post('info', '')).status).toBe(200);
  });

  test('[AP9] [AP37] given invalid parameters, when a back end calls a method, then the code and the message state the fault', async () => {
    for (const body of [
      {},
      { channel: '' },
      { channel: 'caf\u00e9', data: 1 },
      { channel: 7, data: 1 },
      { channel: 'a', tags: 1, data: 1 },
    ]) {
      expect(await call('publish', body)).toMatchObject({ error: { code: 107 } });
    }
    expect(await call('publish', { channel: 'a', b64data: 'bm90IGpzb24=' })).toMatchObject({
      error: { code: 107 },
    });
    const b64data = Buffer.from('2').toString('base64');
    for (const [body, reason] of [
      [{ data: 1, b64data }, '`data` and `b64data` are both given'],
      [{ data: 1, idempotency_key: 'k'.repeat(256) }, '`idempotency_key` has 256 characters; at most 255'],
      [{ data: 1, version: 1, version_epoch: 'e'.repeat(256) }, '`version_epoch` has 256 characters'],
    ] as const) {
      for (const [method, at] of [
        ['publish', { channel: 'a' }],
        ['broadcast', { channels: ['a'] }],
      ] as const)
        expect(await call(method, { ...at, ...body }), method).toMatchObject({
          error: { code: 107, message: expect.stringContaining(reason) },
        });
    }
    expect(await call('publish', { channel: 'a', data: null, b64data })).toHaveProperty('result');
    expect(await call('rpc', { method: 'x' })).toMatchObject({ error: { code: 104 } });
    expect(await call('history', { channel: 'a', limit: 1, since: { offset: 1, epoch: 'other' } })).toMatchObject({
      error: { code: 112 },
    });
  });
});

describe('publishing', () => {
  test('[AP3] [AP30] given members on two gateways, when a back end publishes, then the payload arrives unchanged', async () => {
    const room = newRoom();
    const { sdkClient } = await client(fleet.second, 'u_pub');
    const received: unknown[] = [];
    const subscription = sdkClient.newSubscription(room);
    subscription.on('publication', ({ data, tags, offset }) => received.push([data, tags, offset]));
    subscription.subscribe();
    await subscription.ready(5000);
    const answer = await post('publish', `{"channel":"${room}","tags":{"a":"b"},"data":{\n"n": 1}}`);
    expect(answer.json).toEqual({ result: { offset: 1, epoch: expect.any(String) } });
    await call('publish', { channel: room, b64data: Buffer.from('"text"').toString('base64') });
    expect(await call('publish', { channel: room, data: 'unkept', skip_history: true })).toEqual({
      result: {},
    });
    await until(() => received.length === 3, { what: 'three publications' });
    expect(received).toEqual([
      [{ n: 1 }, { a: 'b' }, 1],
      ['text', undefined, 2],
      ['unkept', undefined, undefined],
    ]);
  });

  test('[AP27] [AP28] [AP29] given an idempotency key, an old version or several groups, when a back end publishes, then each group has the publication once', async () => {
    const room = newRoom();
    const keyed = { channel: room, data: 1, idempotency_key: 'k' };
    const first = await call('publish', keyed);
    expect(await call('publish', keyed)).toEqual(first);
    const newer = await call('publish', { channel: room, data: 2, version: 5 });
    expect(newer.result.offset).toBe(2);
    expect(await call('publish', { channel: room, data: 3, version: 5 })).toEqual(newer);
    expect(await call('publish', { channel: room, data: 3, version: 4 })).toEqual(newer);
    const { publications } = (await call('history', { channel: room, limit: -1 })).result;
    expect(publications).toEqual([
      { data: 1, offset: 1, epoch: newer.result.epoch },
      { data: 2, offset: 2, version: 5 },
    ]);
    const { responses } = (await call('broadcast', { channels: [room, 'caf\u00e9', newRoom()], data: 4 })).result;
    expect(responses).toMatchObject([{ result: { offset: 3 } }, { error: { code: 107 } }, { result: { offset: 1 } }]);
  });

  test('[AP4] given exclude, when a back end publishes, then the client or session does not receive it', async () => {
    const room = newRoom();
    const [ann, bob] = [await client(fleet.gateway, 'u_x1'), await client(fleet.second, 'u_x2')];
    const [receivedAnn, receivedBob] = [await listenTo(ann.sdkClient, room), await listenTo(bob.sdkClient, room)];
    await call('publish', {
      channel: room,
      data: 'not bob',
      exclude: { session: bob.session.toUpperCase() },
    });
    await call('publish', { channel: room, data: 'all' });
    await until(() => receivedAnn.length === 2 && receivedBob.length === 1, { what: 'the publications' });
    expect(receivedBob).toEqual(['all']);
    expect(await call('publish', { channel: room, data: 1, exclude: { client: 'a b' } })).toMatchObject({
      error: { code: 107 },
    });
  });
});

describe('queries', () => {
  test('[AP5] [AP31] [AP38] given a group, when a back end queries presence and history, then the results are those of the client protocol', async () => {
    const room = newRoom();
    const { sdkClient } = await client(fleet.second, 'u_look');
    await listenTo(sdkClient, room);
    await call('publish', { channel: room, data: 'a' });
    await call('publish', { channel: room, data: 'b' });
    const { presence } = (await call('presence', { channel: room })).result;
    expect(Object.values(presence)).toEqual([{ user: 'u_look', client: expect.any(String) }]);
    expect(await call('presence_stats', { channel: room })).toEqual({
      result: { num_clients: 1, num_users: 1 },
    });
    expect(await call('presence', { channel: newRoom() })).toEqual({ result: { presence: {} } });
    const history = (await call('history', { channel: room, limit: -1 })).result;
    expect(history).toMatchObject({
      offset: 2,
      publications: [
        { data: 'a', offset: 1 },
        { data: 'b', offset: 2 },
      ],
    });
    expect(await call('history_remove', { channel: room })).toEqual({ result: {} });
    expect((await call('history', { channel: room, limit: 5 })).result).toMatchObject({
      publications: [],
      offset: 2,
    });
    expect(await sdkClient.presenceStats(room)).toEqual({ numClients: 1, numUsers: 1 });
    expect((await sdkClient.history(room, { limit: 1 })).offset).toBe(2);
  });

  test('[AP7] given two gateways, when a back end queries connections, groups and gateways, then the results cover both', async () => {
    const room = newRoom();
    const [ann, bob] = [await client(fleet.gateway, 'u_seen'), await client(fleet.second, 'u_seen')];
    await listenTo(ann.sdkClient, room);
    await listenTo(bob.sdkClient, room);
    const { connections, gateways } = (await call('connections', { user: 'u_seen' })).result;
    expect(gateways).toBe(2);
    expect(connections).toHaveLength(2);
    expect(connections.map(({ gateway }: { gateway: string }) => gateway).toSorted()).toEqual(['gw-1', 'gw-2']);
    expect(connections[0]).toMatchObject({ user: 'u_seen', transport: 'websocket', groups: [room], lag: 0 });
    expect((await call('connections', { channel: room, session: ann.session })).result.connections).toHaveLength(1);
    expect(await call('channels', { pattern: `${room.slice(0, -1)}*` })).toMatchObject({
      result: { channels: { [room]: { num_clients: 2 } } },
    });
    const { nodes } = (await call('info', {})).result;
    expect(nodes.map(({ name }: { name: string }) => name).toSorted()).toEqual(['gw-1', 'gw-2']);
    expect(nodes[0]).toMatchObject({
      uid: expect.any(String),
      version: expect.any(String),
      num_clients: 1,
      num_users: 1,
    });
  });
});

describe('control commands', () => {
  test('[AP6] [AP32] [AP33] given connections on two gateways, when a back end disconnects or unsubscribes them, then the result has their number', async () => {
    const room = newRoom();
    const [ann, phone, bob] = [
      await client(fleet.gateway, 'u_go'),
      await client(fleet.second, 'u_go'),
      await client(fleet.second, 'u_stay'),
    ];
    for (const { sdkClient } of [ann, phone, bob]) await listenTo(sdkClient, room);
    const unsubscribed = new Promise<{ code: number }>((resolve) =>
      ann.sdkClient.getSubscription(room)?.once('unsubscribed', resolve),
    );
    const session = ann.session;
    expect(await call('unsubscribe', { session, channel: room })).toEqual({
      result: { clients: 1, gateways: 2 },
    });
    expect(await unsubscribed).toMatchObject({ code: 2000 });
    const gone = [ann, phone].map(
      ({ sdkClient }) =>
        new Promise((resolve) => sdkClient.once('disconnected', ({ code, reason }) => resolve([code, reason]))),
    );
    const disconnect = { code: 4501, reason: 'banned' };
    expect(await call('disconnect', { user: 'u_go', disconnect })).toEqual({
      result: { clients: 2, gateways: 2 },
    });
    expect(await Promise.all(gone)).toEqual(Array(2).fill([4501, 'banned']));
    expect(bob.sdkClient.state).toBe('connected');
    expect(await call('disconnect', {})).toMatchObject({ error: { code: 107 } });
    for (const bad of [
      { code: 0 },
      { code: 1000 },
      { code: 5000 },
      { code: 4000, reason: '"json"' },
      { code: 4000, reason: 'x'.repeat(124) },
    ]) {
      expect(await call('disconnect', { user: 'u_stay', disconnect: bad })).toMatchObject({
        error: { code: 107 },
      });
    }
  });

  test('[AP8] given several calls, when a back end sends a batch, then each has its own result', async () => {
    const room = newRoom();
    const commands = [
      { publish: { channel: room, data: 1 } },
      { presence: { channel: 'caf\u00e9' } },
      { history: { channel: room, limit: 1 } },
      { batch: { commands: [] } },
      {},
    ];
    for (const parallel of [false, true]) {
      const { replies } = await call('batch', { commands, parallel });
      expect(replies).toMatchObject([
        { publish: { epoch: expect.any(String) } },
        { error: { code: 107 } },
        { history: { publications: expect.any(Array) } },
        { error: { code: 107 } },
        { error: { code: 107 } },
      ]);
    }
  });
});

test('[HT18] given paths with other case or slashes, when they are requested, then the answer is 404', async () => {
  for (const path of ['/api/publish/', '/api/', '/API/publish', '/ws/', '/connection/websocket/', '/health/']) {
    const answer = await fetch(fleet.gateway.url + path, {
      method: 'POST',
      headers: { 'x-api-key': SERVER_KEY },
      body: '{}',
    });
    expect([path, answer.status]).toEqual([path, 404]);
  }
});

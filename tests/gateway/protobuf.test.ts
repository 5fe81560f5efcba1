import { until } from '@muster/testkit/wait';
import { Centrifuge } from 'centrifuge/build/protobuf';
import { expect, test } from 'vitest';
import { connected, listenTo, openSocket, SERVER_KEY, sdk, useFleet, webSocketWith } from './fixture.ts';

const fleet = useFleet({ user: 'u_proto' });

const bytes = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const parsed = (data: Uint8Array) => JSON.parse(new TextDecoder().decode(data));

const protobufClient = async (): Promise<Centrifuge> => {
  const client = new Centrifuge(`${fleet.gateway.wsUrl}/connection/websocket`, {
    websocket: webSocketWith({}),
    token: fleet.token,
    minReconnectDelay: 50,
  });
  client.connect();
  await client.ready(5_000);
  return client;
};

test('[HS9] given SDK clients of both forms in one group, when they publish, then all receive it, and presence and history are the same', async () => {
  const [proto, json] = [await protobufClient(), await connected(sdk(fleet.gateway, { token: fleet.token }))];
  const receivedJson = await listenTo(json, 'mixed');
  const received: { data: unknown; offset: unknown; tags: unknown; user: unknown }[] = [];
  const subscription = proto.newSubscription('mixed', { joinLeave: true });
  subscription.on('publication', ({ data, offset, tags, info }) => {
    received.push({ data: parsed(data), offset, tags, user: info?.user });
  });
  subscription.subscribe();
  await subscription.ready(5_000);
  await proto.publish('mixed', bytes({ from: 'protobuf' }));
  await json.publish('mixed', { from: 'json', text: 'zażółć' });
  await fetch(`${fleet.gateway.url}/api/publish`, {
    method: 'POST',
    headers: { 'x-api-key': SERVER_KEY },
    body: JSON.stringify({ channel: 'mixed', data: 3, tags: { lang: 'pl' } }),
  });
  await until(() => received.length === 3 && receivedJson.length === 3, { what: 'three publications' });
  expect(received).toMatchObject([
    { data: { from: 'protobuf' }, offset: 1, user: 'u_proto' },
    { data: { from: 'json', text: 'zażółć' }, offset: 2, user: 'u_proto' },
    { data: 3, offset: 3, tags: { lang: 'pl' } },
  ]);
  expect(receivedJson).toEqual(received.map(({ data }) => data));
  expect(await proto.presenceStats('mixed')).toMatchObject({ numClients: 2, numUsers: 1 });
  expect(Object.keys((await proto.presence('mixed')).clients)).toHaveLength(2);
  const history = await proto.history('mixed', { limit: -1 });
  expect(history.publications.map(({ data }) => parsed(data))).toEqual(receivedJson);
  await expect(proto.rpc('nothing', bytes({}))).rejects.toMatchObject({ code: 108 });
  proto.disconnect();
  json.disconnect();
});

test('[HS15] given a Protobuf client that lost its connection, when it reconnects, then it recovers what it missed', async () => {
  const proto = await protobufClient();
  const received: unknown[] = [];
  const resumes: boolean[] = [];
  const subscription = proto.newSubscription('resume');
  subscription.on('publication', ({ data }) => received.push(parsed(data)));
  subscription.on('subscribed', ({ recovered }) => resumes.push(recovered));
  subscription.subscribe();
  await subscription.ready(5_000);
  const other = await connected(sdk(fleet.gateway, { token: fleet.token }));
  await other.publish('resume', 1);
  await until(() => received.length === 1, { what: 'the first' });
  (proto as unknown as { _transport: { _transport: { terminate(): void } } })._transport._transport.terminate();
  await other.publish('resume', 2);
  await until(() => received.length === 2, { what: 'the second' });
  expect([received, resumes]).toEqual([
    [1, 2],
    [false, true],
  ]);
  proto.disconnect();
  other.disconnect();
});

test('[PB11] given bytes that are not JSON, when a Protobuf client publishes them, then Protobuf clients receive them unchanged', async () => {
  const [one, two] = [await protobufClient(), await protobufClient()];
  const received: number[][] = [];
  const subscription = two.newSubscription('bytes');
  subscription.on('publication', ({ data }) => received.push([...data]));
  subscription.subscribe();
  await subscription.ready(5_000);
  await one.publish('bytes', Uint8Array.of(0, 255, 128, 10));
  await until(() => received.length === 1, { what: 'the bytes' });
  expect(received).toEqual([[0, 255, 128, 10]]);
  one.disconnect();
  two.disconnect();
});

test('[VL2] [VL9] given a Protobuf connection, when the client sends a text frame or truncated bytes, then it is closed with 3501', async () => {
  for (const frame of ['{}', Buffer.of(9, 8, 1), Buffer.alloc(0)]) {
    const client = await openSocket(`${fleet.gateway.wsUrl}/connection/websocket?format=protobuf`);
    client.socket.send(frame);
    expect(await client.closed).toEqual({ code: 3501, reason: 'bad request' });
  }
});

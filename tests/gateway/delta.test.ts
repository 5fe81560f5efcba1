import { encodeDelta } from '@muster/protocol/fossil-delta';
import { until } from '@muster/testkit/wait';
import { Centrifuge, type Options } from 'centrifuge';
import { Centrifuge as ProtobufCentrifuge } from 'centrifuge/build/protobuf';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SERVER_KEY, useFleet, webSocketWith } from './fixture.ts';

const fleet = useFleet({ user: 'u_delta' });

type AnyCentrifuge = Centrifuge | ProtobufCentrifuge;
const BUILDS = { json: Centrifuge, protobuf: ProtobufCentrifuge };

const connected = async (build: keyof typeof BUILDS): Promise<AnyCentrifuge> => {
  const options: Partial<Options> = {
    token: fleet.token,
    websocket: webSocketWith({}),
    minReconnectDelay: 50,
  };
  const client = new BUILDS[build](`${fleet.gateway.wsUrl}/connection/websocket`, options);
  client.connect();
  await client.ready(5_000);
  return client;
};

const parsed = (data: unknown): unknown =>
  data instanceof Uint8Array ? JSON.parse(new TextDecoder().decode(data)) : data;

/** Subscribes with deltas and collects payloads and the delta flags of the SDK. */
const listen = async (client: AnyCentrifuge, group: string) => {
  const received: unknown[] = [];
  const errors: unknown[] = [];
  const subscription = client.newSubscription(group, { delta: 'fossil' });
  subscription.on('publication', ({ data }) => received.push(parsed(data)));
  client.on('error', (error) => errors.push(error));
  subscription.subscribe();
  await subscription.ready(5_000);
  const stats = () => {
    const { _deltaNumFull: full, _deltaNumDelta: deltas } = subscription as unknown as Record<string, number>;
    return { full, deltas };
  };
  return { received, errors, stats };
};

const publish = async (channel: string, data: unknown): Promise<void> => {
  const headers = { 'x-api-key': SERVER_KEY };
  await fetch(`${fleet.gateway.url}/api/publish`, {
    method: 'POST',
    headers,
    body: JSON.stringify({ channel, data }),
  });
};

const document = (index: number) => ({
  title: 'Zażółć gęślą jaźń — 漢字 👩‍🚀',
  lines: Array.from({ length: 20 }, (_, line) => `line ${line === index % 20 ? `changed: ąę ${index}` : line}`),
});

test.each(['json', 'protobuf'] as const)(
  '[DL3] given an SDK client (%s) with deltas, when publications are made and its connection is lost, then it has what was published',
  async (build) => {
    const group = `delta-${build}`;
    const client = await connected(build);
    const { received, errors, stats } = await listen(client, group);
    for (let index = 0; index < 5; index++) await publish(group, document(index));
    await until(() => received.length === 5, { what: 'five publications' });
    expect(stats()).toEqual({ full: 1, deltas: 4 });
    (client as unknown as { _transport: { _transport: { terminate(): void } } })._transport._transport.terminate();
    for (let index = 5; index < 9; index++) await publish(group, document(index));
    await until(() => received.length === 9, { what: 'what was missed' });
    await publish(group, document(9));
    await until(() => received.length === 10, { what: 'the next one' });
    expect(received).toEqual(Array.from({ length: 10 }, (_, index) => document(index)));
    expect(stats().deltas).toBeGreaterThanOrEqual(5);
    expect(errors).toEqual([]);
    client.disconnect();
  },
);

test('[DL3] given random payloads with random changes, when they are published, then subscribers of both forms receive them unchanged', async () => {
  const [json, protobuf] = [await connected('json'), await connected('protobuf')];
  const [one, two] = [await listen(json, 'delta-any'), await listen(protobuf, 'delta-any')];
  const payloads = fc.sample(
    fc.oneof(
      fc.jsonValue({ maxDepth: 3 }),
      fc.record({
        text: fc.string({ unit: 'grapheme', minLength: 20, maxLength: 60 }),
        same: fc.constant('ß'.repeat(60)),
      }),
    ),
    { numRuns: 80, seed: 4 },
  );
  for (const data of payloads) await publish('delta-any', data);
  const expected = payloads.map((data) => JSON.parse(JSON.stringify(data)));
  await until(() => one.received.length === 80 && two.received.length === 80, { what: 'all of them' });
  expect(one.received).toEqual(expected);
  expect(two.received).toEqual(expected);
  expect(one.stats().deltas).toBeGreaterThan(5);
  json.disconnect();
  protobuf.disconnect();
});

test('[DL1] given deltas, when the SDK decodes them, then the results are the targets', () => {
  const client = new Centrifuge('ws://127.0.0.1:1', { websocket: webSocketWith({}) });
  const codec = (
    client as unknown as {
      _codec: { applyDeltaIfNeeded(pub: object, base: Uint8Array): { newData: unknown } };
    }
  )._codec;
  const utf8 = new TextEncoder();
  const parts = fc.array(
    fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('ababab'.repeat(9), 'ł'.repeat(17))),
  );
  fc.assert(
    fc.property(parts, parts, fc.nat(9), fc.nat(3), (some, more, at, gone) => {
      const target = some.toSpliced(at, gone, ...more.slice(0, 3));
      const base = utf8.encode(JSON.stringify(some));
      const delta = encodeDelta(base, utf8.encode(JSON.stringify(target)));
      if (delta === undefined) return;
      const data = new TextDecoder('utf-8', { fatal: true }).decode(delta);
      expect(codec.applyDeltaIfNeeded({ data, delta: true }, base).newData).toEqual(target);
    }),
    { numRuns: 400 },
  );
});

import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDeliveryOracle, type DeliveryOracle, type SubscriberLog } from '@muster/testkit/delivery-oracle';
import { until } from '@muster/testkit/wait';
import { describe, expect, test } from 'vitest';
import { openSocket, type RawClient, SERVER_KEY, startGateway, useFleet } from './fixture.ts';

const GROUPS = {
  namespaces: [
    { name: 'patient', permissive: true, slow_policy: 'lag', history_size: 5_000, presence: false },
    { name: 'short', permissive: true, slow_policy: 'lag', history_size: 10, presence: false },
    { name: 'strict', permissive: true, history_size: 5_000, presence: false },
  ],
};
/** Together more than the kernel buffers for a paused reader. */
const PUBLICATIONS = 600;
const FILLING = 'x'.repeat(32_768);
/** Kernels grow the buffers of a connection up to some megabytes. */
const KERNEL_BYTES = 16_777_216;

const file = join(mkdtempSync(join(tmpdir(), 'muster-groups-')), 'groups.json');
const fleet = useFleet({
  env: () => {
    writeFileSync(file, JSON.stringify(GROUPS));
    // The timeout is longer than the pauses of a reader on a busy machine.
    return { GROUPS_FILE: file, MAX_SEND_BUFFER_BYTES: '262144', WRITE_TIMEOUT_MS: '300000' };
  },
  user: 'u_slow',
});

interface Received {
  readonly push?: {
    readonly pub?: { readonly data: { readonly n: number } };
    readonly unsubscribe?: { readonly code: number };
  };
}

interface Subscriber extends RawClient {
  /** Publications that have arrived. */
  publications(): number;
  report(log: SubscriberLog): void;
}

/** A subscriber whose log is read from its frames at the end of the test. */
const subscriber = async (group: string, on = fleet.gateway): Promise<Subscriber> => {
  const client = await openSocket(`${on.wsUrl}/connection/websocket`);
  let arrived = 0;
  client.socket.on('message', (data) => {
    arrived += data.toString().split('"pub":').length - 1;
  });
  client.send({ id: 1, connect: { token: fleet.token } }, { id: 2, subscribe: { channel: group } });
  expect(await client.reply(2)).toMatchObject({ subscribe: { recoverable: true } });
  const received = (): Received[] =>
    client.frames.flatMap((frame) => frame.split('\n')).map((text) => JSON.parse(text));
  return {
    ...client,
    publications: () => arrived,
    report: (log) => {
      for (const { push } of received()) {
        if (push?.pub !== undefined) log.received(push.pub.data.n);
        if (push?.unsubscribe !== undefined) log.resynced();
      }
    },
  };
};

const scene = (group: string) => {
  const oracle = createDeliveryOracle();
  return { oracle, logs: [oracle.subscriber('reader', group), oracle.subscriber('sleeper', group)] as const };
};

/** Publishes numbered payloads; by default more than all buffers between us and a sleeping reader can hold. */
const flood = async (oracle: DeliveryOracle, group: string, count = PUBLICATIONS): Promise<void> => {
  for (let left = count; left > 0; left -= 20) {
    const numbers: number[] = [];
    const commands = Array.from({ length: Math.min(20, left) }, () => {
      const n = oracle.nextPublication(group);
      numbers.push(n);
      return { publish: { channel: group, data: { n, filling: FILLING } } };
    });
    const answer = await fetch(`${fleet.gateway.url}/api/batch`, {
      method: 'POST',
      headers: { 'x-api-key': SERVER_KEY },
      body: JSON.stringify({ commands }),
    });
    const { replies } = (await answer.json()) as { replies: { publish?: object }[] };
    for (const [index, reply] of replies.entries()) {
      if (reply.publish !== undefined) oracle.acknowledged(group, numbers[index] ?? 0);
    }
  }
};

describe('sockets that stop reading', { timeout: 90_000 }, () => {
  test('[SW1] [SW12] given slow_policy lag, when a socket stops reading, then it receives everything in order and once, and others are not affected', async () => {
    const [reader, sleeper] = [await subscriber('patient:1'), await subscriber('patient:1')];
    sleeper.socket.pause();
    const { oracle, logs } = scene('patient:1');
    await flood(oracle, 'patient:1');
    await until(() => reader.publications() === PUBLICATIONS, { what: 'all publications at the reader' });
    expect(await fleet.gateway.metric('gateway_slow_consumer_actions_total{action="lag"}')).toBe(1);
    expect(sleeper.publications()).toBeLessThan(PUBLICATIONS);
    sleeper.socket.resume();
    await until(() => sleeper.publications() >= PUBLICATIONS, { what: 'the rest', timeoutMs: 20_000 });
    reader.report(logs[0]);
    sleeper.report(logs[1]);
    const { missing, duplicates, misordered, announced, acknowledged } = oracle.report();
    expect({ missing, duplicates, misordered, announced, acknowledged }).toEqual({
      ...{ missing: [], duplicates: [], misordered: [], announced: [] },
      acknowledged: PUBLICATIONS,
    });
    await until(
      async () => (await fleet.gateway.metric('gateway_slow_consumer_actions_total{action="caught_up"}')) === 1,
      { what: 'the sleeper to be live again' },
    );
    expect(sleeper.socket.readyState).toBe(sleeper.socket.OPEN);
    for (const { socket } of [reader, sleeper]) socket.terminate();
  });

  test('[SW2] given a group that keeps too little, when a socket stops reading, then the gap is reported and nothing arrives out of order', async () => {
    const [reader, sleeper] = [await subscriber('short:1'), await subscriber('short:1')];
    sleeper.socket.pause();
    const { oracle, logs } = scene('short:1');
    await flood(oracle, 'short:1');
    await until(() => reader.publications() === PUBLICATIONS, { what: 'all publications at the reader' });
    sleeper.socket.resume();
    await until(() => sleeper.frames.some((frame) => frame.includes('"unsubscribe":{"code":2500')), {
      what: 'the announcement',
      timeoutMs: 20_000,
    });
    sleeper.send({ id: 3, subscribe: { channel: 'short:1' } });
    await sleeper.reply(3);
    await flood(oracle, 'short:1', 1);
    await until(() => reader.publications() > PUBLICATIONS, { what: 'one more' });
    const last = `"n":${PUBLICATIONS},`;
    await until(() => sleeper.frames.some((frame) => frame.includes(last)), { what: 'one more, here too' });
    reader.report(logs[0]);
    sleeper.report(logs[1]);
    const report = oracle.report();
    expect(report.announced.length).toBeGreaterThan(0);
    expect(report).toMatchObject({ missing: [], duplicates: [], misordered: [] });
    for (const { socket } of [reader, sleeper]) socket.terminate();
  });

  test('[OB3] given the default policy, when a socket stops reading, then memory stays bounded and it is closed with 3008', async () => {
    const [reader, sleeper] = [await subscriber('strict:1'), await subscriber('strict:1')];
    sleeper.socket.pause();
    await flood(createDeliveryOracle(), 'strict:1');
    await until(() => reader.publications() === PUBLICATIONS, { what: 'all publications at the reader' });
    sleeper.socket.resume();
    const { code } = await sleeper.closed;
    // The close frame is behind what the kernel holds; a late reader finds the connection terminated.
    expect([3008, 1006]).toContain(code);
    expect(await fleet.gateway.metric('gateway_disconnects_total{initiator="server",code="3008"}')).toBe(1);
    expect(sleeper.publications() * FILLING.length).toBeLessThan(KERNEL_BYTES);
    reader.socket.terminate();
  });

  test('[SW6] given a socket that reads nothing, when WRITE_TIMEOUT_MS pass, then it is closed, whatever its groups', async () => {
    await using strict = await startGateway(fleet.stores, fleet.sessions.opsUrl, {
      GROUPS_FILE: file,
      MAX_SEND_BUFFER_BYTES: '262144',
      WRITE_TIMEOUT_MS: '1000',
      INSTANCE_NAME: 'gw-strict',
    });
    const sleeper = await subscriber('patient:2', strict);
    sleeper.socket.pause();
    await flood(createDeliveryOracle(), 'patient:2');
    const ended = 'gateway_disconnects_total{initiator="server",code="3009"}';
    await until(async () => (await strict.metric(ended)) === 1, { what: 'the end', timeoutMs: 20_000 });
    expect(await strict.metric('gateway_slow_consumer_actions_total{action="stalled"}')).toBe(1);
    expect(await strict.metric('gateway_connections')).toBe(0);
    sleeper.socket.resume();
    expect((await sleeper.closed).code).toBe(1006);
  });
});

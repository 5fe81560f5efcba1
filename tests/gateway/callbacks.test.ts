import { createHmac } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { Centrifuge } from 'centrifuge/build/protobuf';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import {
  CALLBACK_SECRET,
  signToken,
  startApplication,
  type TestApplication,
  TOKEN_SECRET,
} from './fake-application.ts';
import { connected, SERVER_KEY, sdk, startGateway, type TestGateway } from './fixture.ts';

const stores = useTestStores();
const stack = new AsyncDisposableStack();
const clients: { disconnect(): void }[] = [];
let application: TestApplication;
let gateway: TestGateway;

const start = async (env: NodeJS.ProcessEnv = {}) => {
  const file = join(tmpdir(), `muster-groups-${crypto.randomUUID()}.json`);
  const moderated = {
    name: 'moderated',
    permissive: true,
    subscribe_callback: true,
    publish_callback: true,
    history_size: 0,
  };
  await writeFile(file, JSON.stringify({ namespaces: [moderated] }));
  return stack.use(
    await startGateway(stores, 'http://127.0.0.1:9', {
      TOKEN_HMAC_SECRET: TOKEN_SECRET,
      GROUPS_FILE: file,
      CALLBACK_SECRET,
      CALLBACK_SUBSCRIBE_URL: `${application.url}/subscribe`,
      CALLBACK_PUBLISH_URL: `${application.url}/publish`,
      CALLBACK_RPC_URL: `${application.url}/rpc`,
      // A busy machine must not count as a timeout of the application.
      CALLBACK_TIMEOUT_MS: '30000',
      ...env,
    }),
  );
};
const clientOf = async (on = gateway) => {
  const client = await connected(sdk(on, { token: await signToken({ meta: { plan: 'free' } }) }));
  clients.push(client);
  return client;
};
const rpcCode = (client: { rpc(method: string, data: unknown): Promise<unknown> }) =>
  client.rpc('x', null).then(
    () => 0,
    (error: { code: number }) => error.code,
  );
const count = (on: TestGateway, outcome: string, kind = 'rpc') =>
  on.metric(`gateway_callbacks_total{kind="${kind}",outcome="${outcome}"}`);

beforeAll(async () => {
  application = stack.use(await startApplication());
  gateway = await start();
});
afterEach(() => {
  for (const client of clients.splice(0)) client.disconnect();
  application.answer({ result: {} });
  application.questions.length = 0;
});
afterAll(() => stack.disposeAsync());

describe('requests', () => {
  test('[AQ8] given a callback, when the gateway calls the application, then the request names client and command, and is signed', async () => {
    application.answer({ result: { data: { ok: true } } });
    const client = await clientOf();
    expect((await client.rpc('now', { at: 'home' })).data).toEqual({ ok: true });
    const [question] = application.questions;
    const { headers, body, path } = question ?? { headers: {}, body: '', path: '' };
    expect(path).toBe('/rpc');
    expect(JSON.parse(body)).toEqual({
      tenant: 'default',
      client: expect.stringMatching(/^[0-9a-f-]{36}$/),
      transport: 'websocket',
      protocol: 'json',
      encoding: 'json',
      user: 'ann',
      meta: { plan: 'free' },
      method: 'now',
      data: { at: 'home' },
    });
    const { 'webhook-id': id, 'webhook-timestamp': time, 'webhook-signature': signature } = headers;
    const mac = createHmac('sha256', CALLBACK_SECRET)
      .update(`${String(id)}.${String(time)}.${body}`)
      .digest('base64');
    expect(signature).toBe(`v1,${mac}`);
    expect(Math.abs(Number(time) - Date.now() / 1000)).toBeLessThan(60);
  });

  test('[AQ20] given large numbers, line breaks and bytes that are not JSON, when a callback is made, then payloads are forwarded unchanged', async () => {
    application.answer(
      (_, res) => void res.end('{"result": {"data": {\n "n": 12345678901234567890,\n "t": "a\\nb"}}}'),
    );
    const client = await clientOf();
    expect((await client.rpc('x', null)).data).toMatchObject({ t: 'a\nb' });
    const token = await signToken();
    const proto = new Centrifuge(`${gateway.wsUrl}/connection/websocket`, { websocket: WebSocket, token });
    clients.push(proto);
    await connected(proto);
    application.answer({ result: { b64data: Buffer.from([0, 1, 255]).toString('base64') } });
    const { data } = await proto.rpc('bytes', new Uint8Array([9, 0, 255]));
    expect([...new Uint8Array(data)]).toEqual([0, 1, 255]);
    const body = JSON.parse(application.questions.at(-1)?.body ?? '{}');
    expect(body).toMatchObject({
      protocol: 'protobuf',
      encoding: 'binary',
      b64data: Buffer.from([9, 0, 255]).toString('base64'),
    });
    expect(body).not.toHaveProperty('data');
  });
});

describe('answers', () => {
  test('[AQ1] [AQ11] given a subscribe callback, when the application accepts, then its info and data apply', async () => {
    application.answer({ result: { info: { seat: 7 }, data: { welcome: true } } });
    const client = await clientOf();
    const subscription = client.newSubscription('moderated:1', { data: { code: 'x' } });
    const welcome = new Promise((resolve) => subscription.on('subscribed', ({ data }) => resolve(data)));
    subscription.subscribe();
    expect(await welcome).toEqual({ welcome: true });
    expect(Object.values((await subscription.presence()).clients)).toMatchObject([{ chanInfo: { seat: 7 } }]);
    expect(JSON.parse(application.questions[0]?.body ?? '')).toMatchObject({
      user: 'ann',
      channel: 'moderated:1',
      data: { code: 'x' },
    });
  });

  test('[AQ5] given a publish callback, when the application returns other data, then that is published', async () => {
    const client = await clientOf();
    const subscription = client.newSubscription('moderated:1');
    const received = new Promise((resolve) => subscription.on('publication', ({ data }) => resolve(data)));
    subscription.subscribe();
    await subscription.ready(5_000);
    application.answer({ result: { data: { text: 'CHANGED' } } });
    await subscription.publish({ text: 'sent' });
    expect(await received).toEqual({ text: 'CHANGED' });
  });

  test('[AQ3] [AQ13] given an error or a disconnect of the application, when a client sends a command, then the client receives it', async () => {
    const client = await clientOf();
    application.answer({ error: { code: 1_234, message: 'not today', temporary: true } });
    await expect(client.rpc('x', null)).rejects.toMatchObject({
      code: 1_234,
      message: 'not today',
      temporary: true,
    });
    application.answer({ error: { code: 403, message: 'closed shop' } });
    const subscription = client.newSubscription('moderated:2');
    const refused = new Promise((resolve) => subscription.on('unsubscribed', resolve));
    subscription.subscribe();
    expect(await refused).toMatchObject({ code: 403, reason: 'closed shop' });
    const gone = new Promise((resolve) => client.on('disconnected', resolve));
    application.answer({ disconnect: { code: 4_500, reason: 'banned' } });
    client.publish('moderated:1', 1).catch(() => {});
    expect(await gone).toMatchObject({ code: 4_500, reason: 'banned' });
  });

  test('[AQ17] given an RPC callback, when a back end calls rpc, then the application answers it', async () => {
    const call = async () => {
      const answer = await fetch(`${gateway.url}/api/rpc`, {
        method: 'POST',
        headers: { 'x-api-key': SERVER_KEY },
        body: '{"method":"now","params":{"a":1}}',
      });
      return answer.json();
    };
    application.answer({ result: { data: [1] } });
    expect(await call()).toEqual({ result: { data: [1] } });
    expect(JSON.parse(application.questions[0]?.body ?? '')).toEqual({
      tenant: 'default',
      encoding: 'json',
      method: 'now',
      data: { a: 1 },
    });
    application.answer({ error: { code: 404, message: 'no such thing' } });
    expect(await call()).toEqual({ error: { code: 404, message: 'no such thing' } });
  });
});

describe('invalid answers', () => {
  test('[AQ9] given invalid answers, when the application returns them, then they are temporary errors, counted, and the breaker stays closed', async () => {
    const on = await start();
    const client = await clientOf(on);
    const bad: [object | ((_: unknown, res: ServerResponse) => void), string][] = [
      [(_, res) => void res.writeHead(500).end(), 'bad_status'],
      [(_, res) => void res.writeHead(404).end('{"result":{}}'), 'bad_status'],
      [(_, res) => void res.writeHead(204).end(), 'bad_status'],
      [(_, res) => void res.end('<html>'), 'bad_answer'],
      [(_, res) => void res.end(), 'bad_answer'],
      [[1], 'bad_answer'],
      [{ result: 7 }, 'bad_answer'],
      [{ error: { code: 'x' } }, 'bad_answer'],
      [{ error: { code: 7 } }, 'bad_answer'],
      [{ disconnect: { code: 1000, reason: 'x' } }, 'bad_answer'],
      [{ disconnect: { code: 4000, reason: '123' } }, 'bad_answer'],
      [{ result: { b64data: 'ä' } }, 'bad_answer'],
      [{ result: { data: 'x'.repeat(300_000) } }, 'bad_answer'],
    ];
    const tally: Record<string, number> = { bad_status: 0, bad_answer: 0 };
    for (const [answer, outcome] of bad) {
      application.answer(answer);
      expect(await rpcCode(client), String(JSON.stringify(answer)).slice(0, 80)).toBe(100);
      tally[outcome] = (tally[outcome] ?? 0) + 1;
      expect(await count(on, outcome), outcome).toBe(tally[outcome]);
    }
    application.answer({ result: {} });
    expect(await rpcCode(client)).toBe(0);
  });

  test('[AQ21] given an unreachable application or a redirect, when five faults have occurred, then the breaker opens for a second', async () => {
    const on = await start();
    const client = await clientOf(on);
    application.answer(
      (_: unknown, res: ServerResponse) => void res.writeHead(307, { location: application.url }).end(),
    );
    expect(await rpcCode(client)).toBe(100);
    application.answer((_: unknown, res: ServerResponse) => void res.writeHead(503).end());
    for (let at = 1; at < 5; at += 1) expect(await rpcCode(client)).toBe(100);
    expect(await count(on, 'unreachable')).toBe(5);
    // On a slow machine a second passes before the next call, which is then the trial call of the breaker.
    const notTried = async () => (await rpcCode(client)) === 100 && (await count(on, 'not_tried')) > 0;
    await until(notTried, { what: 'a call that is not made' });
    application.answer({ result: {} });
    await until(async () => (await rpcCode(client)) === 0, { what: 'the next try' });
  });

  test('[AQ22] given an application that does not answer, when the timeout passes, then the result is error 100, counted as timeout', async () => {
    const on = await start({ CALLBACK_TIMEOUT_MS: '50' });
    const client = await clientOf(on);
    application.answer(() => {});
    expect(await rpcCode(client)).toBe(100);
    application.answer((_: unknown, res: ServerResponse) => void res.writeHead(200).write('{"result":'));
    expect(await rpcCode(client)).toBe(100);
    expect(await count(on, 'timeout')).toBe(2);
  });

  test('[AQ10] given as many callbacks in flight as permitted, when another is due, then it is rejected at once and none is lost', async () => {
    const on = await start({ CALLBACK_MAX_IN_FLIGHT: '2', CALLBACK_TIMEOUT_MS: '30000' });
    const client = await clientOf(on);
    const held: ServerResponse[] = [];
    application.answer((_: unknown, res: ServerResponse) => void held.push(res));
    const calls = [rpcCode(client), rpcCode(client)];
    await until(() => held.length === 2, { what: 'two calls' });
    expect(await on.metric('gateway_callbacks_in_flight')).toBe(2);
    expect(await rpcCode(client)).toBe(100);
    expect(await count(on, 'too_many')).toBe(1);
    for (const res of held) res.end('{"result":{}}');
    expect(await Promise.all(calls)).toEqual([0, 0]);
    expect(await on.metric('gateway_callbacks_in_flight')).toBe(0);
  });
});

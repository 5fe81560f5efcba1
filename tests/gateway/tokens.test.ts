import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemRandom } from '@muster/kit/runtime';
import { createTokenSigner, newSecret, newSessionId } from '@muster/session/token';
import { useTestStores } from '@muster/testkit/stores';
import { Centrifuge } from 'centrifuge/build/protobuf';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { startIssuer, type TestIssuer } from '../session/fake-issuer.ts';
import { signToken, TOKEN_SECRET } from './fake-application.ts';
import { connected, openSocket, SERVER_KEY, sdk, startGateway, type TestGateway, tryUpgrade } from './fixture.ts';

const stores = useTestStores();
const stack = new AsyncDisposableStack();
const seconds = (from: number) => Math.floor(Date.now() / 1000) + from;
/** Closed port: application tokens require no session service. */
const NO_SESSIONS = 'http://127.0.0.1:9';
let issuer: TestIssuer;
let gateway: TestGateway;

const start = async (env: NodeJS.ProcessEnv) => stack.use(await startGateway(stores, NO_SESSIONS, env));

beforeAll(async () => {
  issuer = stack.use(await startIssuer());
  gateway = await start({
    TOKEN_HMAC_SECRET: TOKEN_SECRET,
    TOKEN_JWKS_URL: `${issuer.url}/jwks`,
    PERSONAL_GROUPS: 'user:#',
  });
});
afterAll(() => stack.disposeAsync());

const closeOf = async (on: TestGateway, connect: object) => {
  const client = await openSocket(`${on.wsUrl}/connection/websocket`);
  client.send({ id: 1, connect });
  return client.closed;
};
const replyOf = async (on: TestGateway, connect: object) => {
  const client = await openSocket(`${on.wsUrl}/connection/websocket`);
  client.send({ id: 1, connect });
  const reply = await client.reply(1);
  client.socket.terminate();
  return reply;
};

describe('with the SDK', () => {
  test('[JT9] given a token with info and groups, when a client of either form connects, then it has this user, info and subscriptions', async () => {
    const token = await signToken({ info: { name: 'Ann' }, channels: ['news'], meta: { plan: 'free' } });
    const proto = new Centrifuge(`${gateway.wsUrl}/connection/websocket`, { websocket: WebSocket, token });
    for (const client of [sdk(gateway, { token }), proto]) {
      const joined = new Promise<string[]>((resolve) => {
        const names: string[] = [];
        client.on('subscribed', ({ channel }) => {
          names.push(channel);
          if (names.length === 2) resolve(names.toSorted());
        });
      });
      await connected(client);
      expect(await joined).toEqual(['news', 'user:#ann']);
      const subscription = client.newSubscription('chat:1');
      subscription.subscribe();
      await subscription.ready(5_000);
      const { clients } = await subscription.presence();
      const [me] = Object.values(clients) as { user: string; connInfo: unknown }[];
      expect(me?.user).toBe('ann');
      const info = me?.connInfo instanceof Uint8Array ? JSON.parse(Buffer.from(me.connInfo).toString()) : me?.connInfo;
      expect(info).toEqual({ name: 'Ann' });
      client.disconnect();
    }
  });

  test('[JT6] [JT25] given a token that expires, when the SDK refreshes it, then the client stays connected', async () => {
    let given = 0;
    const second = Promise.withResolvers<void>();
    const client = sdk(gateway, {
      getToken: async () => {
        given += 1;
        if (given === 2) second.resolve();
        return signToken({ exp: seconds(given === 1 ? 2 : 3_600) });
      },
    });
    await connected(client);
    await second.promise;
    // The socket that brought the second token is still good for questions.
    await expect(client.history('chat:1', { limit: 0 })).rejects.toMatchObject({ code: 103 });
    expect([client.state, given]).toEqual(['connected', 2]);
    client.disconnect();
  });

  test('[JT8] given an expired token, when an SDK connects, then it fetches another token and connects', async () => {
    let given = 0;
    const client = sdk(gateway, {
      token: await signToken({ exp: seconds(-10) }),
      getToken: async () => {
        given += 1;
        return signToken();
      },
    });
    await connected(client);
    expect(given).toBe(1);
    client.disconnect();
  });

  test('[FR11] given as many groups as permitted, with long tokens and names, when the SDK reconnects, then one frame resubscribes all', async () => {
    const client = sdk(gateway, { token: await signToken() });
    const ends: number[] = [];
    client.on('disconnected', ({ code }) => ends.push(code));
    const subscriptions = Array.from({ length: 120 }, (_, n) => {
      const name = `$${n}${'g'.repeat(250)}`;
      const getToken = () => signToken({ channel: name, info: { text: 'x'.repeat(2_000) } });
      return client.newSubscription(name, { getToken });
    });
    for (const one of subscriptions) one.subscribe();
    await connected(client);
    await Promise.all(subscriptions.map((one) => one.ready(15_000)));
    const again = subscriptions.map((one) => new Promise((resolve) => one.once('subscribed', resolve)));
    client.disconnect();
    client.connect();
    await Promise.all(again);
    expect(ends).toEqual([0]);
    client.disconnect();
  });

  test('[PT1] [PT6] [PT11] given a subscription token for a private group, when a client subscribes, then it has its info, and the SDK refreshes the token', async () => {
    const client = await connected(sdk(gateway, { token: await signToken() }));
    const refused = client.newSubscription('$vip');
    const gone = new Promise((resolve) => refused.on('unsubscribed', ({ code }) => resolve(code)));
    refused.subscribe();
    expect(await gone).toBe(103);
    client.removeSubscription(refused);

    let given = 0;
    const second = Promise.withResolvers<void>();
    const vip = client.newSubscription('$vip', {
      getToken: async ({ channel }) => {
        given += 1;
        if (given === 2) second.resolve();
        return signToken({ channel, info: { seat: 7 }, exp: seconds(given === 1 ? 2 : 3_600) });
      },
    });
    vip.subscribe();
    await vip.ready(5_000);
    const { clients } = await vip.presence();
    expect(Object.values(clients)).toMatchObject([{ user: 'ann', chanInfo: { seat: 7 } }]);
    await second.promise;
    await vip.publish({ text: 'still here' });
    expect([vip.state, given]).toEqual(['subscribed', 2]);
    client.disconnect();
  });
});

describe('invalid tokens', () => {
  test('[JT20] given forged tokens, of another key or kind, when a client connects, then it is closed with 3500 or rejected with 401, counted by fault', async () => {
    const forged = [
      await signToken({}, 'another-secret-of-32-bytes-or-more!!'),
      `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from('{"sub":"ann"}').toString('base64url')}.`,
      await signToken({ sub: 7 }),
      await signToken({ channel: '$vip' }),
      await signToken({ info: 'x'.repeat(20_000) }),
      await issuer.idToken({ header: { typ: 'logout+jwt' } }),
      await issuer.idToken({
        header: { kid: 'key-RS256' },
        algorithm: 'HS256',
        key: Buffer.from(issuer.publicKeyPem()),
      }),
    ];
    for (const token of forged) {
      expect(await closeOf(gateway, { token }), token.slice(0, 40)).toEqual({
        code: 3500,
        reason: 'invalid token',
      });
    }
    const upgrade = await tryUpgrade(`${gateway.wsUrl}/ws?group=a`, { authorization: `Bearer ${forged[0]}` });
    expect(upgrade.status).toBe(401);
    expect(await gateway.metric('gateway_token_checks_total{kind="connection",result="type"}')).toBe(1);
    expect(await gateway.metric('gateway_token_checks_total{kind="connection",result="too_long"}')).toBe(1);
    expect(await gateway.metric('gateway_token_checks_total{kind="connection",result="claims"}')).toBe(1);
    const numbers = 'gateway_token_checks_total{kind="connection",result="sub_not_text"}';
    expect(await gateway.metric(numbers)).toBe(1);
  });

  test('[JT8] [JT31] [JT32] given an expired token, a passed expire_at or no sub, when a client connects, then the result is 109, 110 or 3507', async () => {
    expect(await closeOf(gateway, { token: await signToken({ sub: '' }) })).toMatchObject({ code: 3507 });
    expect(await replyOf(gateway, { token: await signToken({ exp: seconds(-1) }) })).toMatchObject({
      error: { code: 109 },
    });
    expect(await replyOf(gateway, { token: await signToken({ nbf: seconds(300) }) })).toMatchObject({
      error: { code: 109 },
    });
    expect(await gateway.metric('gateway_token_checks_total{kind="connection",result="not_yet"}')).toBe(1);
    expect(await replyOf(gateway, { token: await signToken({ expire_at: seconds(-1) }) })).toMatchObject({
      error: { code: 110 },
    });
    expect(await closeOf(gateway, {})).toMatchObject({ code: 3501 });
  });
});

describe('published keys', () => {
  test('[JT21] [JT22] given published keys, when clients connect, then tokens by each kind are accepted and an unknown key is rejected', async () => {
    for (const algorithm of ['RS256', 'ES256', 'EdDSA']) {
      const token = await issuer.idToken({ algorithm });
      expect(await replyOf(gateway, { token }), algorithm).toMatchObject({
        connect: { data: { user: 'ann' } },
      });
    }
    const foreign = await issuer.idToken({
      header: { kid: 'unknown' },
      algorithm: 'ES256',
      key: await issuer.addKey('unlisted', 'ES256'),
    });
    expect(await closeOf(gateway, { token: foreign })).toMatchObject({ code: 3500 });
  });

  test('[JT5] given a JWKS URL that fails, when a client connects or upgrades, then the result is error 100 or 503', async () => {
    for (const behavior of ['error', 'garbage', 'huge', 'hang'] as const) {
      const faulty = stack.use(await startIssuer());
      faulty.behave(behavior);
      const on = await start({ TOKEN_JWKS_URL: `${faulty.url}/jwks` });
      const token = await faulty.idToken();
      expect(await replyOf(on, { token }), behavior).toMatchObject({ error: { code: 100, temporary: true } });
      const upgrade = await tryUpgrade(`${on.wsUrl}/ws?group=a`, { authorization: `Bearer ${token}` });
      expect(upgrade.status, behavior).toBe(503);
    }
  });
});

test('[JT10] given a bearer token of the application, when a client upgrades to the plain endpoint, then it is accepted', async () => {
  const socket = await openSocket(`${gateway.wsUrl}/ws?group=lobby`, {
    authorization: `Bearer ${await signToken()}`,
  });
  const received = new Promise((resolve) => socket.socket.once('message', (data) => resolve(data.toString())));
  socket.socket.send('hello');
  expect(await received).toBe('hello');
  socket.socket.terminate();
  expect((await tryUpgrade(`${gateway.wsUrl}/ws?group=lobby`)).status).toBe(401);
});

test('[JT11] [JT34] [JT35] given clients by token, when keys are rotated by SIGHUP, then clients stay and an invalid configuration changes nothing', async () => {
  const file = join(tmpdir(), `muster-token-secret-${crypto.randomUUID()}`);
  const [old, next] = ['old', 'new'].map((word) => `${word}-3858f62230ac3c915f300c664312c63f`) as [string, string];
  await writeFile(file, old);
  const on = await start({ TOKEN_HMAC_SECRET_FILE: file });
  const first = await connected(sdk(on, { token: await signToken({}, old) }));
  await writeFile(file, next);
  on.reload({ TOKEN_HMAC_PREVIOUS_SECRET: old });
  for (const secret of [old, next])
    expect(await replyOf(on, { token: await signToken({}, secret) })).toMatchObject({ connect: {} });
  expect(first.state).toBe('connected');
  const client = await connected(sdk(on, { token: await signToken({}, next) }));
  const gone = new Promise((resolve) => first.once('disconnected', resolve));
  on.reload();
  expect(await gone).toMatchObject({ code: 3500 });
  expect(await closeOf(on, { token: await signToken({}, old) })).toMatchObject({ code: 3500 });
  await writeFile(file, 'short');
  expect(() => on.reload()).toThrow('TOKEN_HMAC_SECRET');
  expect(await replyOf(on, { token: await signToken({}, next) })).toMatchObject({ connect: {} });
  expect(client.state).toBe('connected');
  client.disconnect();
});

test('[JT36] given new session secrets, when the gateway receives SIGHUP, then tokens signed with them are accepted', async () => {
  const next = 'a new key of session tokens with 45 bytes of it';
  const token = createTokenSigner([next]).issue(newSessionId(), newSecret(systemRandom));
  const on = await start({});
  expect(await closeOf(on, { token })).toMatchObject({ code: 3500 });
  on.reload({ SESSION_SECRETS: next });
  // Its signature is valid now, and no session service is available to check it.
  expect(await replyOf(on, { token })).toMatchObject({ error: { code: 100 } });
});

describe('anonymous clients', () => {
  test('[AN1] [AN4] given ALLOW_ANONYMOUS, when clients connect without a credential or without sub, then they are accepted with an empty user id', async () => {
    const file = join(tmpdir(), `muster-groups-${crypto.randomUUID()}.json`);
    const open = {
      name: 'open',
      permissive: true,
      allow_subscribe_for_anonymous: true,
      allow_presence_for_anonymous: true,
    };
    await writeFile(file, JSON.stringify({ namespaces: [open] }));
    const on = await start({ ALLOW_ANONYMOUS: 'true', TOKEN_HMAC_SECRET: TOKEN_SECRET, GROUPS_FILE: file });
    const client = await connected(sdk(on, {}));
    const subscription = client.newSubscription('open:1');
    subscription.subscribe();
    await subscription.ready(5_000);
    expect(Object.values((await subscription.presence()).clients)).toMatchObject([{ user: '' }]);
    await expect(subscription.publish('x')).rejects.toMatchObject({ code: 103 });
    client.disconnect();
    expect(await replyOf(on, { token: await signToken({ sub: undefined }) })).toMatchObject({
      connect: { expires: true },
    });
    expect((await tryUpgrade(`${on.wsUrl}/ws?group=open:1`)).status).toBe(403);
  });

  test('[AN3] [AN5] [AN6] given CLIENT_INSECURE, when clients connect, then they have every permission, but forged and expired tokens are rejected', async () => {
    const on = await start({ CLIENT_INSECURE: 'true', TOKEN_HMAC_SECRET: TOKEN_SECRET });
    expect(await replyOf(on, { token: await signToken({ exp: seconds(-60) }) })).toMatchObject({
      error: { code: 109 },
    });
    const client = await connected(sdk(on, { token: await signToken() }));
    const subscription = client.newSubscription('$x#bob');
    subscription.subscribe();
    await subscription.ready(5_000);
    await client.publish('$y', 1);
    client.disconnect();
    expect(await closeOf(on, { token: await signToken({}, 'x'.repeat(32)) })).toMatchObject({ code: 3500 });
    const answer = await fetch(`${on.url}/api/connections`, {
      method: 'POST',
      headers: { 'x-api-key': SERVER_KEY },
      body: '{}',
    });
    expect(answer.status).toBe(200);
  });
});

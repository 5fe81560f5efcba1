import { runCli } from '@muster/cli/cli';
import { createRealtime } from '@muster/client/realtime';
import { createGuest, createMySessions } from '@muster/client/sessions';
import type { LocalFleet } from '@muster/fleet/fleet';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import { endOwnSession, onDifferentGateways, plainClient, sdkClient, signInUser } from './clients.ts';
import { startDedicatedFleet } from './dedicated-fleet.ts';

let fleet: LocalFleet;
let about: ReturnType<LocalFleet['describe']>;

beforeAll(async () => {
  fleet = await startDedicatedFleet({ PLAIN_SILENCE_MS: '1500', PLAIN_SWEEP_MS: '200' });
  about = fleet.describe();
});
afterAll(() => fleet[Symbol.asyncDispose]());

const COUNT = 200;

test('[GM2] [HS12] SDK clients on two gateways, by cookie and by token, receive each other in order, other groups nothing', async () => {
  const ann = await signInUser(about, 'ann', 'cookie');
  const bob = await signInUser(about, 'bob', 'bearer');
  const [one, two] = await onDifferentGateways([
    () => sdkClient(fleet.publicUrl, ann.credential),
    () => sdkClient(fleet.publicUrl, bob.credential),
  ]);
  using _one = one;
  using _two = two;
  using stranger = await sdkClient(fleet.publicUrl, bob.credential);
  const elsewhere = await stranger.subscribe('elsewhere');
  const [atOne, atTwo] = [await one.subscribe('news'), await two.subscribe('news')];

  for (let n = 0; n < COUNT; n += 1) await (n % 2 === 0 ? atOne : atTwo).subscription.publish({ n });

  for (const { received } of [atOne, atTwo]) {
    await until(async () => received.length, {
      ok: (count) => count >= COUNT,
      what: `${COUNT} publications`,
    });
    expect(received.map(({ data }) => data.n)).toEqual(Array.from({ length: COUNT }, (_, n) => n));
    expect(new Set(received.map(({ info }) => info?.user))).toEqual(new Set(['ann', 'bob']));
  }
  expect(elsewhere.received).toEqual([]);
});

test('[PL8] plain and SDK clients of one group receive the publications of each other', async () => {
  const cay = await signInUser(about, 'cay');
  using plain = await plainClient(fleet.publicUrl, 'mixed', cay.credential);
  using sdk = await sdkClient(fleet.publicUrl, cay.credential);
  const { subscription, received } = await sdk.subscribe('mixed');

  plain.socket.send('hello, world');
  plain.socket.send('{"x":1}');
  await until(async () => received.length, {
    ok: (count) => count === 2,
    what: 'two publications at the SDK',
  });
  expect(received.map(({ data }) => data)).toEqual(['hello, world', { x: 1 }]);

  await subscription.publish('as text');
  await subscription.publish({ as: 'json' });
  await until(async () => plain.received.length, {
    ok: (count) => count === 4,
    what: 'four texts at the plain client',
  });
  expect(plain.received).toEqual(['hello, world', '{"x":1}', 'as text', '{"as":"json"}']);
});

test('[PL4] [PL9] a silent plain client is closed, a client that sends heartbeats stays connected', async () => {
  const dan = await signInUser(about, 'dan');
  using silent = await plainClient(fleet.publicUrl, 'quiet', dan.credential);
  using beating = await plainClient(fleet.publicUrl, 'quiet', dan.credential);
  const beats = setInterval(() => beating.socket.send('{"type":"heartbeat"}'), 300);
  const { reason } = await silent.closed;
  clearInterval(beats);
  expect(reason).not.toBe('');
  expect(beating.socket.readyState).toBe(beating.socket.OPEN);
  expect(beating.received).toContain('{"type":"heartbeat"}');
  expect(silent.received).toEqual([]);
});

test('[GS2] when a session ends, exactly its connections close, on both gateways', async () => {
  const phone = await signInUser(about, 'eve');
  const laptop = await signInUser(about, 'eve');
  const [one, two] = await onDifferentGateways([
    () => sdkClient(fleet.publicUrl, phone.credential),
    () => sdkClient(fleet.publicUrl, phone.credential),
  ]);
  using plain = await plainClient(fleet.publicUrl, 'any', phone.credential);
  using stays = await sdkClient(fleet.publicUrl, laptop.credential);

  expect((await endOwnSession(fleet.publicUrl, phone.credential)).status).toBe(204);

  for (const { closes } of [one, two]) {
    await until(async () => closes[0], {
      ok: (close) => close !== undefined,
      what: 'the socket to be closed',
    });
    expect(closes).toEqual([{ code: 4501, reason: expect.stringMatching(/session/) }]);
  }
  expect(await plain.closed).toMatchObject({ code: 4501 });
  expect(stays.client.state).toBe('connected');
  const again = await fetch(`${fleet.publicUrl}/v1/session`, {
    headers: { authorization: `Bearer ${'token' in phone.credential ? phone.credential.token : ''}` },
  });
  expect([again.status, await again.json()]).toMatchObject([401, { type: expect.stringContaining('session-ended') }]);
});

test('[CN12] an ended session cannot reconnect', async () => {
  const fay = await signInUser(about, 'fay');
  await endOwnSession(fleet.publicUrl, fay.credential);
  await expect(sdkClient(fleet.publicUrl, fay.credential)).rejects.toThrow();
  await expect(plainClient(fleet.publicUrl, 'any', fay.credential)).rejects.toThrow(/401/);
});

test('[CL4] a client whose session was ended is notified once, and does not reconnect', async () => {
  const { token = '' } = await createGuest({ baseUrl: fleet.publicUrl });
  const reasons: string[] = [];
  const client = createRealtime({
    ...{ baseUrl: fleet.publicUrl, token, sdk: { websocket: WebSocket } },
    onSignedOut: (reason) => reasons.push(reason),
  });
  client.connect();
  await client.ready(10_000);
  await createMySessions({ baseUrl: fleet.publicUrl, token }).signOut();
  await until(() => reasons.length, { what: 'the news' });
  expect(reasons).toEqual([expect.stringMatching(/session/)]);
  expect(client.state).toBe('disconnected');
});

test('[CM8] [CM11] the command line publishes to a group, tails it, and lists groups and connections', async () => {
  const interruption = new AbortController();
  const start = (...words: readonly string[]) => {
    const [out, err]: [string[], string[]] = [[], []];
    const code = runCli({
      argv: [...words, ...['--url', fleet.publicUrl, '--key', about.serviceApiKey, '--server-key', about.serverApiKey]],
      ...{ env: {}, cwd: '/' },
      out: (text) => out.push(text),
      err: (text) => err.push(text),
      interruption: () => interruption.signal,
    });
    return { code, out, err };
  };
  const run = async (...words: readonly string[]) => {
    const { code, out, err } = start(...words);
    return { code: await code, out: out.join('\n'), err: err.join('\n') };
  };
  const tail = start('tail', '$ops', '--json', '--count', '2');
  await until(async () => tail.err.join(), { ok: (said) => said.includes('listening'), what: 'the tail' });
  expect(await run('publish', '$ops', '{"n":1}')).toMatchObject({ code: 0 });
  expect((await run('publish', '$ops', 'not \u001b JSON')).code).toBe(0);
  expect(await tail.code).toBe(0);
  expect(tail.out.map((line) => JSON.parse(line).data)).toEqual([{ n: 1 }, 'not \u001b JSON']);

  const second = start('tail', '$ops');
  await until(async () => second.err.join(), { ok: (said) => said.includes('listening'), what: 'the tail' });
  expect((await run('groups', '$op?')).out).toMatch(/^GROUP +MEMBERS\n\$ops +1\n\(2 gateways answered\)$/);
  expect((await run('connections', '--group', '$ops')).out).toMatch(
    /muster-cli .* ws-gateway-\d .*\$ops\n\(2 gateways answered\)$/,
  );
  await run('publish', '$ops', 'not \u001b JSON');
  await until(async () => second.out, { ok: ({ length }) => length === 1, what: 'the line' });
  expect(second.out[0]).toContain('(server)  "not \\u001b JSON"');
  interruption.abort();
  expect(await second.code).toBe(0);
  expect(second.out.at(-1)).toBe('1 received');
  // Nothing is left behind: the session of the tail is ended.
  await until(async () => (await run('connections', '--user', 'muster-cli')).out, {
    ok: (said) => said.startsWith('no connections'),
    what: 'no connections',
  });
  const hanging = fleet.describe().gateways[0]?.name ?? '';
  fleet.kill(hanging, 'SIGSTOP');
  try {
    for (const words of [
      ['groups', '$op?'],
      ['connections', '--user', 'muster-cli'],
    ]) {
      const said = await run(...words);
      expect(said).toMatchObject({ code: 1, err: expect.stringContaining(`no answer from ${hanging}`) });
      expect(said.out).toMatch(/^(groups|connections): unknown\n\(1 gateway answered; no answer from ws-gateway-\d\)$/);
    }
  } finally {
    fleet.kill(hanging, 'SIGCONT');
  }
  expect((await run('sessions', 'list', '--user', 'muster-cli')).out).toBe('no sessions');
  expect(await run('publish', 'no such group', '1', '2')).toMatchObject({ code: 2 });
}, 60_000);

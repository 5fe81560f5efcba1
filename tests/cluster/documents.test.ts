import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname } from 'node:path';
import { createRealtime } from '@muster/client/realtime';
import { createGuest } from '@muster/client/sessions';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { repositoryFiles } from '../architecture/source-files.ts';
import { runnableBlocks } from '../documents/blocks.ts';
import { type FleetHome, startFleetHome } from '../documents/fleet-home.ts';
import { startNotesApp } from './notes-example.ts';

const TOUR = 'README.md';
const documents = repositoryFiles()
  .filter((path) => path.endsWith('.md') && path !== TOUR)
  .filter((path) => runnableBlocks(path, ['fleet']).some(({ isSlow }) => !isSlow));

let home: FleetHome;
beforeAll(async () => {
  home = await startFleetHome();
});
afterAll(() => home?.[Symbol.asyncDispose]());

/** Runs `npx muster …` with the Node of `path`; kills npx, as a shell's `kill $!` does, as soon as it listens. */
const killTail = async (path: string): Promise<{ written: string; ended: Promise<unknown> }> => {
  const child = spawn('npx', ['muster', 'tail', 'killed'], {
    cwd: home.directory,
    env: { ...process.env, PATH: `${path}:${process.env['PATH']}` },
  });
  let written = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (written += chunk));
  // Closed by the last process that holds them: that of the command itself.
  const ended = once(child, 'close');
  await until(() => written.includes('listening to killed') || child.exitCode !== null, {
    what: 'the tail to listen',
    timeoutMs: 40_000,
  });
  expect({ exitCode: child.exitCode, written }).toMatchObject({ exitCode: null });
  child.kill();
  return { written, ended };
};

const SYSTEM_NODE = '/usr/bin';
const olderNode = (): boolean => {
  try {
    return Number(/v(\d+)/.exec(String(execFileSync(`${SYSTEM_NODE}/node`, ['--version'])))?.[1]) < 24;
  } catch {
    return false;
  }
};

test.for([
  ['this Node', dirname(process.execPath)],
  ...(olderNode() ? [['an older Node, which hands over', SYSTEM_NODE] as const] : []),
])('[CM8] a tail whose npx is killed leaves no process and no session: %s', async ([, path = '']) => {
  const { written, ended } = await killTail(path);
  await ended;
  expect(written).not.toContain('Warning');
  const { serviceApiKey, publicUrl } = home.fleet.describe();
  const answer = await fetch(`${publicUrl}/v1/sessions?user_id=muster-cli&state=live`, {
    headers: { authorization: `Bearer ${serviceApiKey}` },
  });
  expect(await answer.json()).toMatchObject({ items: [] });
});

test.each(documents)('[DC3] the blocks of %s run as documented', async (document) => {
  await home.runDocument(document, ['fleet'], false);
});

test('[CL8] notes of the example are private: a guest and another user may neither read nor write them', async () => {
  await using app = await startNotesApp(home.directory);
  const login = async (name: string) => fetch(`${app.url}/login`, { method: 'POST', body: name });
  const signIn = async (name: string) => {
    const answer = await login(name);
    expect(answer.status).toBe(201);
    return (await answer.json()) as { token: string; group: string };
  };
  const baseUrl = home.fleet.publicUrl;
  const [laptop, phone, bob] = [await signIn('ann'), await signIn('ann'), await signIn('bob')];
  const { token: guest = '' } = await createGuest({ baseUrl });
  expect(laptop.group).toBe(phone.group);
  expect(bob.group).not.toBe(laptop.group);
  for (const name of ['', '*', 'ann:x', '../x', 'x'.repeat(41)]) expect((await login(name)).status).toBe(422);

  using clients = new DisposableStack();
  const connect = (token: string) => clients.adopt(createRealtime({ baseUrl, token }), (one) => one.disconnect());
  const listen = (token: string) => {
    const client = connect(token);
    const notes = client.newSubscription(laptop.group);
    const seen: unknown[] = [];
    notes.on('publication', ({ data }) => seen.push(data));
    const settled = new Promise<string>((resolve) => {
      notes.on('subscribed', () => resolve('subscribed'));
      notes.on('unsubscribed', ({ code }) => resolve(`refused ${code}`));
    });
    notes.subscribe();
    client.connect();
    return { client, notes, seen, settled };
  };
  const [own, other, ...strangers] = [laptop.token, phone.token, bob.token, guest].map(listen);
  expect([await own?.settled, await other?.settled]).toEqual(['subscribed', 'subscribed']);
  await own?.notes.publish('a private note');
  await until(() => other?.seen.length === 1, { what: 'the note on the other device' });
  for (const { client, settled, seen } of strangers) {
    expect(await settled).toBe('refused 103');
    await expect(client.history(laptop.group, { limit: 10 })).rejects.toMatchObject({ code: 103 });
    await expect(client.presence(laptop.group)).rejects.toMatchObject({ code: 103 });
    await expect(client.publish(laptop.group, 'forged')).rejects.toMatchObject({ code: 103 });
    expect(seen).toEqual([]);
  }
  expect(other?.seen).toEqual(['a private note']);
});

test('[DC3] the tour of README.md runs as documented, and ends with its connections closed', async () => {
  const written = await home.runDocument(TOUR, ['fleet'], false);
  const clients = [...written].filter(([{ code }]) => code.includes('tests/tour/'));
  expect(clients.map(([, output]) => /closed: (\d+)/.exec(output)?.[1])).toEqual(['4501', '4501']);
  const [, tailed = ''] = [...written].find(([{ code }]) => code.includes('muster tail')) ?? [];
  expect(tailed).toContain('{"text":"from a terminal"}');
});

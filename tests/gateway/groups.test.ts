import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openSocket, startGateway, tryUpgrade, useFleet } from './fixture.ts';

const file = join(tmpdir(), `muster-groups-${process.pid}.json`);

const write = (content: unknown) => writeFile(file, typeof content === 'string' ? content : JSON.stringify(content));

const fleet = useFleet({
  env: async () => {
    await write({
      without_namespace: { permissive: true },
      namespaces: [{ name: 'chat', permissive: true, history_size: 0, presence: false }, { name: 'closed' }],
    });
    return { GROUPS_FILE: file };
  },
  user: 'u_groups',
});

test('[NS1] [NS11] [NS12] given a groups file, when clients use groups, then options are those of the namespace, and unknown namespaces are rejected', async () => {
  const client = await openSocket(`${fleet.gateway.wsUrl}/connection/websocket`);
  client.send(
    { id: 1, connect: { token: fleet.token } },
    { id: 2, subscribe: { channel: 'chat:1' } },
    { id: 3, subscribe: { channel: 'news:1' } },
    { id: 4, subscribe: { channel: 'lobby' } },
    { id: 5, presence: { channel: 'chat:1' } },
    { id: 6, publish: { channel: 'news:1', data: 1 } },
  );
  expect(await client.reply(2)).toEqual({ id: 2, subscribe: {} });
  expect(await client.reply(3)).toMatchObject({
    error: { code: 102, message: expect.stringMatching(/^unknown channel: /) },
  });
  expect(await client.reply(4)).toMatchObject({ subscribe: { recoverable: true } });
  expect(await client.reply(5)).toMatchObject({ error: { code: 108 } });
  expect(await client.reply(6)).toMatchObject({ error: { code: 102 } });
  client.socket.terminate();
});

test('[NS8] [NS18] [NS19] given a namespace without permissions, when a client uses it, then everything is denied and the log names it', async () => {
  const client = await openSocket(`${fleet.gateway.wsUrl}/connection/websocket`);
  const channel = 'closed:1';
  client.send(
    { id: 1, connect: { token: fleet.token } },
    { id: 2, subscribe: { channel } },
    { id: 3, publish: { channel, data: 1 } },
    { id: 4, presence: { channel } },
    { id: 5, history: { channel } },
  );
  for (const id of [2, 3, 4, 5]) expect(await client.reply(id)).toMatchObject({ error: { code: 103 } });
  const bearer = { authorization: `Bearer ${fleet.token}` };
  expect((await tryUpgrade(`${fleet.gateway.wsUrl}/ws?group=${channel}`, bearer)).status).toBe(403);
  expect(fleet.gateway.log.of('gateway.groups_loaded')[0]?.fields).toEqual({
    namespaces: 2,
    closed: ['closed'],
  });
  client.socket.terminate();
  await using open = await startGateway(fleet.stores, fleet.sessions.opsUrl);
  expect(open.log.of('gateway.groups_open')).toMatchObject([{ level: 'warn' }]);
});

test('[NS14] [NS15] [NS22] given a reloaded file, when it is valid, then it is in effect, and an invalid file is rejected', async () => {
  const client = await openSocket(`${fleet.gateway.wsUrl}/connection/websocket`);
  let id = 1;
  client.send({ id, connect: { token: fleet.token } });
  const subscribe = async (channel: string) => {
    id += 1;
    client.send({ id, subscribe: { channel } });
    return client.reply(id);
  };
  expect(await subscribe('sport:1')).toMatchObject({ error: { code: 102 } });
  await write({ namespaces: [{ name: 'sport', allow_subscribe_for_client: true }] });
  fleet.gateway.reload();
  expect(await subscribe('sport:1')).toMatchObject({ subscribe: { recoverable: true } });
  for (const bad of ['{', '[]', { namespaces: [{ name: 'sport', history_size: 'many' }] }]) {
    await write(bad);
    expect(() => fleet.gateway.reload()).toThrow(/groups file|GROUPS_FILE/);
  }
  expect(await subscribe('sport:2')).toMatchObject({ subscribe: { recoverable: true } });
  client.socket.terminate();
  await expect(startGateway(fleet.stores, fleet.sessions.opsUrl, { GROUPS_FILE: file })).rejects.toThrow(
    'history_size',
  );
});

import { withClient } from '@muster/testkit/template';
import { Centrifuge } from 'centrifuge';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { openSocket, useFleet } from './fixture.ts';

const fleet = useFleet();

test('[GS10] given a connected guest, when the guest signs in, then the SDK reconnects as a user with the new token', async () => {
  const guest = (await fleet.sessions.call('POST', '/v1/guest-sessions', { json: { transport: 'bearer' } })).body;
  let token: string = guest.token;
  const users: string[] = [];
  const client = new Centrifuge(`${fleet.gateway.wsUrl}/connection/websocket`, {
    websocket: WebSocket,
    minReconnectDelay: 10,
    getToken: async () => token,
  });
  const codes: number[] = [];
  client.on('connecting', ({ code }) => codes.push(code));
  const connectedAs = (count: number) =>
    new Promise<void>((resolve) => {
      client.on('connected', ({ data }) => {
        if (users.length < count) users.push(data.user);
        if (users.length === count) resolve();
      });
    });
  const first = connectedAs(1);
  client.connect();
  await first;
  const second = connectedAs(2);
  const upgraded = await fleet.sessions.service('POST', `/v1/sessions/${guest.id}/upgrade`, {
    user_id: 'ann',
  });
  expect(upgraded.status).toBe(200);
  token = upgraded.body.token;
  await second;
  expect(users).toEqual([`guest:${guest.id.slice(0, 8)}`, 'ann']);
  expect(codes).toContain(3014);
  client.disconnect();
});

test.each([
  ['a guest who signed in', null, `user_id = 'eve', kind = 'user'`],
  ['a higher level', 'dan', 'aal = 2'],
  ['a later login', 'dan', `auth_time = now() + interval '1 second'`],
])(
  '[GS20] given %s that was not received, when a later change is received, then the connections are closed with 3014',
  async (_, user, raise) => {
    const login = await (user === null
      ? fleet.sessions.call('POST', '/v1/guest-sessions', { json: { transport: 'bearer' } })
      : fleet.sessions.service('POST', '/v1/sessions', { user_id: user }));
    const { id, token } = login.body;
    const protocol = await openSocket(`${fleet.gateway.wsUrl}/connection/websocket`);
    protocol.send({ id: 1, connect: { token } });
    await protocol.reply(1);
    const plain = await openSocket(`${fleet.gateway.wsUrl}/ws?group=renewed`, {
      authorization: `Bearer ${token}`,
    });
    // As another replica would, whose message is lost. The label is the later change.
    await withClient(fleet.stores.databaseUrl, (client) =>
      client.query(`UPDATE sessions SET ${raise}, rev = rev + 1 WHERE id = $1`, [id]),
    );
    expect((await fleet.sessions.service('PATCH', `/v1/sessions/${id}`, { label: 'later' })).status).toBe(200);
    const closed = { code: 3014, reason: 'session renewed: raised' };
    expect(await Promise.all([protocol.closed, plain.closed])).toMatchObject([closed, closed]);
  },
);

test('[GS19] given a connection, when the secret is rotated, then the connection stays open', async () => {
  const login = await fleet.sessions.service('POST', '/v1/sessions', { user_id: 'bob', transport: 'bearer' });
  const { id, token } = login.body;
  const client = new Centrifuge(`${fleet.gateway.wsUrl}/connection/websocket`, {
    websocket: WebSocket,
    token,
  });
  client.connect();
  await client.ready(5_000);
  const closed = new Promise((resolve) => client.once('connecting', resolve));
  expect((await fleet.sessions.bearer(token, 'POST', '/v1/session/rotate')).status).toBe(200);
  // Changes arrive in order: had the rotation closed it, the first reason would differ.
  const raised = await fleet.sessions.service('POST', `/v1/sessions/${id}/step-up`, { aal: 2, amr: ['otp'] });
  expect(raised.status).toBe(200);
  expect(await closed).toMatchObject({ code: 3014, reason: 'session renewed: step_up' });
  client.disconnect();
});

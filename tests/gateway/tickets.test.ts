import { once } from 'node:events';
import { Centrifuge, type ConnectedContext } from 'centrifuge';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { ORIGIN } from '../session/fixture.ts';
import { useFleet } from './fixture.ts';

const fleet = useFleet();

const signedIn = async () =>
  (await fleet.sessions.service('POST', '/v1/sessions', { user_id: 'ann', transport: 'bearer' })).body as {
    id: string;
    token: string;
  };
const ticketOf = async (token: string, origin?: string): Promise<string> => {
  const answer = await fleet.sessions.bearer(
    token,
    'POST',
    '/v1/session/ws-ticket',
    origin === undefined ? {} : { origin },
  );
  expect(answer.status).toBe(201);
  return answer.body.ticket;
};

/** Offers a ticket as a page would; answers the status, and the subprotocol that was taken. */
const openPlain = async (ticket: string, origin?: string): Promise<{ status: number; protocol: string }> => {
  const socket = new WebSocket(
    `${fleet.gateway.wsUrl}/ws?group=lobby`,
    ['muster', `ticket.${ticket}`],
    origin === undefined ? {} : { origin },
  );
  socket.on('error', () => {});
  const status = await Promise.race([
    once(socket, 'open').then(() => 101),
    once(socket, 'unexpected-response').then(([, response]) => response.statusCode as number),
  ]);
  const { protocol } = socket;
  socket.terminate();
  return { status, protocol };
};

test('[HS10] [HS21] [HS24] given a ticket, when it is used twice, then the first upgrade is accepted without echoing it and the second is rejected with 401', async () => {
  const { token } = await signedIn();
  const ticket = await ticketOf(token);
  expect(await openPlain(ticket)).toEqual({ status: 101, protocol: 'muster' });
  expect((await openPlain(ticket)).status).toBe(401);
  expect((await openPlain(`t_${'A'.repeat(43)}`)).status).toBe(401);
});

test('[HS22] given a ticket for one origin, when it is used from another, then the upgrade is rejected', async () => {
  const { token } = await signedIn();
  expect((await openPlain(await ticketOf(token, ORIGIN), ORIGIN)).status).toBe(101);
  expect((await openPlain(await ticketOf(token, ORIGIN))).status).toBe(401);
  expect((await openPlain(await ticketOf(token), ORIGIN)).status).toBe(401);
  expect((await openPlain(await ticketOf(token, ORIGIN), 'https://evil.example')).status).toBe(403);
});

test('[HS23] given the ticket of an ended session, when it is used, then the upgrade is rejected with 401', async () => {
  const { id, token } = await signedIn();
  const ticket = await ticketOf(token);
  await fleet.sessions.service('DELETE', `/v1/sessions/${id}`);
  expect((await openPlain(ticket)).status).toBe(401);
});

test('[HS10] given an SDK that fetches tickets, when its session ends, then it is disconnected with 4501', async () => {
  const { id, token } = await signedIn();
  let fetched = 0;
  const client = new Centrifuge(`${fleet.gateway.wsUrl}/connection/websocket`, {
    websocket: WebSocket,
    minReconnectDelay: 10,
    getToken: () => {
      fetched += 1;
      return ticketOf(token);
    },
  });
  const connected = new Promise<ConnectedContext>((resolve) => client.once('connected', resolve));
  client.connect();
  expect((await connected).data?.session).toBe(id);
  const ended = new Promise<{ code: number }>((resolve) => client.once('disconnected', resolve));
  await fleet.sessions.service('DELETE', `/v1/sessions/${id}`);
  expect((await ended).code).toBe(4501);
  expect(fetched).toBe(1);
});

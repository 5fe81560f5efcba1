import { expect, test } from 'vitest';
import { cookieOf, ORIGIN } from '../session/fixture.ts';
import { openSocket, tryUpgrade, useFleet } from './fixture.ts';

const fleet = useFleet();

const signIn = async (user: string): Promise<string> =>
  cookieOf(await fleet.sessions.service('POST', '/v1/sessions', { user_id: user, transport: 'cookie' }));

/** Results of one Cookie header at the session service, the plain endpoint and the protocol endpoint. */
const resultsOf = async (cookie: string) => {
  const http = await fleet.sessions.call('GET', '/v1/session', { headers: { cookie, origin: ORIGIN } });
  const plain = await tryUpgrade(`${fleet.gateway.wsUrl}/ws?group=cookies`, { cookie, origin: ORIGIN });
  const upgraded = await tryUpgrade(`${fleet.gateway.wsUrl}/connection/websocket`, {
    cookie,
    origin: ORIGIN,
  });
  if (upgraded.status !== 101) return { http: http.status, plain: plain.status, protocol: upgraded.status };
  const client = await openSocket(`${fleet.gateway.wsUrl}/connection/websocket`, { cookie, origin: ORIGIN });
  client.send({ id: 1, connect: {} });
  const protocol = await Promise.race([
    client.reply(1).then(({ connect }) => connect?.data.user as unknown),
    client.closed.then(({ code }) => code),
  ]);
  client.socket.terminate();
  return { http: http.status, plain: plain.status, protocol };
};

test('[GS16] given several cookies, when a client uses them, then the first live session is used on both endpoints as in the session service', async () => {
  const [ended, live, second] = [await signIn('ann'), await signIn('ann'), await signIn('ben')];
  await fleet.sessions.cookie(ended, 'DELETE', '/v1/session');
  const forged = `${live.slice(0, -4)}AAAA`;
  const good = { http: 200, plain: 101, protocol: 'ann' };
  for (const cookies of [
    [live],
    [ended, live],
    [live, ended],
    [forged, ended, live],
    [ended, 'session_id=x', live, second],
    ['session_id=s%3Aeyx.y.z', live],
    [...Array.from({ length: 10 }, (_, n) => `session_id=${n}`), forged, ended, ended, ended, ended, live],
    [...Array.from({ length: 6 }, (_, n) => `${live.slice(0, -4)}100${n}`), live],
  ]) {
    expect([cookies.length, await resultsOf(cookies.join('; '))]).toEqual([cookies.length, good]);
  }
  expect(await resultsOf([ended, second].join('; '))).toEqual({ ...good, protocol: 'ben' });
  expect(await resultsOf([forged, ended].join('; '))).toEqual({ http: 401, plain: 401, protocol: 4501 });
  expect(await resultsOf([forged, 'session_id=x'].join('; '))).toEqual({
    http: 401,
    plain: 401,
    protocol: 401,
  });
});

test('[GS17] given a retired secret, when it is presented repeatedly, then at most one request is made in two seconds and the current secret is accepted', async () => {
  const { body } = await fleet.sessions.service('POST', '/v1/sessions', { user_id: 'ann' });
  const stepped = await fleet.sessions.service('POST', `/v1/sessions/${body.id}/step-up`, { aal: 2 });
  const status = async (token: string) =>
    (await tryUpgrade(`${fleet.gateway.wsUrl}/ws?group=stale`, { authorization: `Bearer ${token}` })).status;
  const reads = () => fleet.sessions.metric('db_client_operation_duration_seconds_count{operation="find_sessions"}');
  const before = await reads();
  const startedAt = performance.now();
  for (let n = 0; n < 60; n += 1) {
    expect(await status(body.token)).toBe(401);
    if (n % 20 === 0) expect(await status(stepped.body.token)).toBe(101);
  }
  const seconds = (performance.now() - startedAt) / 1_000;
  expect((await reads()) - before).toBeLessThanOrEqual(2 + seconds);
});

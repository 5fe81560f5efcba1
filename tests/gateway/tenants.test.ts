import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { openSocket, tryUpgrade, useFleet } from './fixture.ts';

const HOSTS = { TENANT_HOSTS: 'a.example.com=a,b.example.com=b' };

const fleet = useFleet({ env: HOSTS });

const tokenOf = async (tenant: string): Promise<string> =>
  (await fleet.sessions.service('POST', '/v1/sessions', { user_id: 'u_host', tenant, transport: 'bearer' })).body.token;

test('[GS11] given tenants with hosts, when a session is used at a host of another tenant, then the upgrade is rejected', async () => {
  const [a, plain] = [await tokenOf('a'), await tokenOf('default')];
  const upgrade = async (token: string, host: string) =>
    (await tryUpgrade(`${fleet.gateway.wsUrl}/ws?group=hosts`, { host, authorization: `Bearer ${token}` })).status;
  expect(await upgrade(a, 'a.example.com')).toBe(101);
  expect(await upgrade(plain, 'www.example.com')).toBe(101);
  for (const same of ['a.example.com.', 'A.Example.com:8443', 'a.example.com.:8443']) {
    expect([same, await upgrade(a, same), await upgrade(plain, same)]).toEqual([same, 101, 401]);
  }
  expect(await upgrade(a, 'b.example.com')).toBe(401);
  expect(await upgrade(a, 'www.example.com')).toBe(401);
  expect(await upgrade(plain, 'a.example.com')).toBe(401);

  const connect = async (token: string, host: string) => {
    const client = await openSocket(`${fleet.gateway.wsUrl}/connection/websocket`, { host });
    client.send({ id: 1, connect: { token } });
    return client;
  };
  const good = await connect(a, 'a.example.com');
  expect((await good.reply(1)).connect).toBeDefined();
  good.socket.terminate();
  expect((await (await connect(a, 'b.example.com')).closed).code).toBe(3500);
});

test('[GS23] given an ended session, when it is used at a host of another tenant, then it is rejected as unknown', async () => {
  const { id, token } = (
    await fleet.sessions.service('POST', '/v1/sessions', {
      user_id: 'u_host',
      tenant: 'a',
      transport: 'bearer',
    })
  ).body;
  await fleet.sessions.service('DELETE', `/v1/sessions/${id}?reason=admin`);
  const redis = new Redis(fleet.stores.redisUrl);
  for (const from of ['redis', 'service']) {
    if (from === 'service') await redis.del(`${fleet.stores.redisPrefix}s:{${id}}`);
    for (const host of ['b.example.com', 'www.example.com', 'a.example.com']) {
      const isHome = host === 'a.example.com';
      const upgrade = await tryUpgrade(`${fleet.gateway.wsUrl}/ws?group=hosts`, {
        host,
        authorization: `Bearer ${token}`,
      });
      expect(upgrade.body).toContain(isHome ? 'session-ended' : 'invalid-token');
      if (!isHome) expect(upgrade.body).not.toContain('admin');
      const client = await openSocket(`${fleet.gateway.wsUrl}/connection/websocket`, { host });
      client.send({ id: 1, connect: { token } });
      expect((await client.closed).code).toBe(isHome ? 4501 : 3500);
    }
  }
  await redis.quit();
});

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createSessionClient } from '@muster/health-aggregator/clients/session-client';
import { createUpstream } from '@muster/health-aggregator/clients/upstream';
import { migrate } from '@muster/session-service/postgres/migrate';
import { openFaultProxy } from '@muster/testkit/fault-proxy';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { useTestStores } from '@muster/testkit/stores';
import { expect, test } from 'vitest';
import { SERVICE_KEY, startService } from '../session/fixture.ts';

const stores = useTestStores({ migrate });

/** A desk that knows two replicas, both at one address, and stores in this state. */
const deskAt = (address: string, dependencies: object = {}) => {
  const member = { beat: { service: 'session-service', address }, state: 'up' };
  return createSessionClient(
    createUpstream({
      service: 'session-service',
      fleet: { monitors: () => [member, member] as never, snapshot: () => ({ dependencies }) as never },
      headers: { authorization: `Bearer ${SERVICE_KEY}` },
      variable: 'SERVICE_API_KEYS',
      log: createInMemoryLog(),
    }),
  );
};

test('[OD5] a session that an operator opens has one idempotency key for all attempts', async () => {
  await using stack = new AsyncDisposableStack();
  const keys: (string | undefined)[] = [];
  /** Ends the first connection without an answer, as a replica that dies after it has carried the request out. */
  const server = createServer((req, res) => {
    keys.push(req.headers['idempotency-key'] as string | undefined);
    if (keys.length === 1) return void req.socket.destroy();
    res.writeHead(201, { 'content-type': 'application/json' }).end('{"id":"s","token":"t"}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stack.defer(() => new Promise((resolve) => server.close(() => resolve())));
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  expect(await deskAt(address).openListener({ group: 'news', tenant: 'default' })).toEqual({
    id: 's',
    token: 't',
  });
  expect(keys).toHaveLength(2);
  expect(keys[0]).toMatch(/^[0-9a-f-]{36}$/);
  expect(keys[1]).toBe(keys[0]);
});

test('[OD6] given user ids that mean something in a path, when an operator looks one up, then only its sessions are found', async () => {
  await using service = await startService(stores);
  const users = ['a/b', '../..', '%2e%2e', 'x?y#z&state=all', 'plain'];
  for (const user_id of users) {
    const made = await service.service('POST', '/v1/sessions', { user_id, transport: 'bearer' });
    expect(made.status).toBe(201);
  }
  const desk = deskAt(new URL(service.url).host);
  for (const user of users) {
    const { devices } = await desk.find({ by: 'user', user });
    expect(devices.map((device) => device.user)).toEqual([user]);
  }
  for (const nobody of ['.', '..'])
    expect((await desk.find({ by: 'user', user: nobody })).devices).toEqual([]);
});

test('[OD1] given Postgres is away, when an operator asks for sessions, then the answer names Postgres and not a missing service', async () => {
  await using postgres = await openFaultProxy(stores.databaseUrl);
  await using service = await startService({ ...stores, databaseUrl: postgres.url });
  const address = new URL(service.url).host;
  await postgres.refuse();
  const database = { status: 'down', reasons: ['refused'], reporters: 1, failing: 1 };
  const ask = (dependencies: object) =>
    deskAt(address, dependencies)
      .find({ by: 'newest' })
      .then(
        () => undefined,
        (error: unknown) => error,
      );
  expect(await ask({ database })).toMatchObject({
    code: 'OVERLOADED',
    message: 'The session-service cannot use Postgres (refused): check Postgres first.',
  });
  // Before any check has failed the service's own words tell the most.
  expect(await ask({})).toMatchObject({
    message: expect.stringMatching(/^The session-service answered with an error: status 503\. \w+/),
  });
});

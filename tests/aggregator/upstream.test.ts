import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { createGatewayClient } from '@muster/health-aggregator/clients/gateway-client';
import { createSessionClient } from '@muster/health-aggregator/clients/session-client';
import { createUpstream } from '@muster/health-aggregator/clients/upstream';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { openFaultProxy } from '@muster/testkit/fault-proxy';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { useTestStores } from '@muster/testkit/stores';
import { expect, test } from 'vitest';
import { SERVICE_KEY, startService } from '../session/fixture.ts';

const stores = useTestStores({ migrate });

/** An upstream with two replicas, both at one address, and stores in this state. */
const upstreamAt = (service: string, address: string, dependencies: object = {}) => {
  const monitor = { heartbeat: { service, address }, state: 'up' };
  return createUpstream({
    service,
    fleet: { monitors: () => [monitor, monitor] as never, snapshot: () => ({ dependencies }) as never },
    headers: { authorization: `Bearer ${SERVICE_KEY}` },
    variable: 'SERVICE_API_KEYS',
    log: createInMemoryLog(),
  });
};
const sessionClientAt = (address: string, dependencies: object = {}) =>
  createSessionClient(upstreamAt('session-service', address, dependencies));

test('[OD5] given an attempt without an answer, when a publication is retried, then it has the same idempotency key', async () => {
  await using stack = new AsyncDisposableStack();
  const keys: string[] = [];
  /** Closes the first connection without an answer, as a replica that is killed after it has executed the request. */
  const server = createServer(async (req, res) => {
    keys.push(((await json(req)) as { idempotency_key: string }).idempotency_key);
    if (keys.length === 1) return void req.socket.destroy();
    res.writeHead(200, { 'content-type': 'application/json' }).end('{"result":{"offset":3,"epoch":"e"}}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stack.defer(() => new Promise((resolve) => server.close(() => resolve())));
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const gateways = createGatewayClient(upstreamAt('ws-gateway', address));
  const key = crypto.randomUUID();
  const published = await gateways.publish({ group: 'news', tenant: 'default' }, 'hello', key);
  expect(published).toEqual({ offset: 3, epoch: 'e' });
  expect(keys).toHaveLength(2);
  expect(keys[0]).toBe(key);
  expect(keys[1]).toBe(keys[0]);
});

test('[OD6] given user ids with a meaning in paths, when an operator looks one up, then only its sessions are found', async () => {
  await using service = await startService(stores);
  const users = ['a/b', '../..', '%2e%2e', 'x?y#z&state=all', 'plain'];
  for (const user_id of users) {
    const made = await service.service('POST', '/v1/sessions', { user_id, transport: 'bearer' });
    expect(made.status).toBe(201);
  }
  const sessions = sessionClientAt(new URL(service.url).host);
  for (const user of users) {
    const { devices } = await sessions.find({ by: 'user', user });
    expect(devices.map((device) => device.user)).toEqual([user]);
  }
  for (const user of ['.', '..']) expect((await sessions.find({ by: 'user', user })).devices).toEqual([]);
});

test('[OD9] given Postgres is unavailable, when an operator requests sessions, then the answer names Postgres and not a missing service', async () => {
  await using postgres = await openFaultProxy(stores.databaseUrl);
  await using service = await startService({ ...stores, databaseUrl: postgres.url });
  const address = new URL(service.url).host;
  await postgres.refuse();
  const database = { status: 'down', reasons: ['refused'], reporters: 1, failing: 1 };
  const errorOf = (dependencies: object) =>
    sessionClientAt(address, dependencies)
      .find({ by: 'newest' })
      .then(
        () => undefined,
        (error: unknown) => error,
      );
  expect(await errorOf({ database })).toMatchObject({
    code: 'OVERLOADED',
    message: 'The session-service cannot reach Postgres (refused). Check Postgres first.',
  });
  // Before any check has failed, the answer of the service is the best cause.
  expect(await errorOf({})).toMatchObject({
    message: expect.stringMatching(/^The session-service responded with an error: status 503\. \w+/),
  });
});

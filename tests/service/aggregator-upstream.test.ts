import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createSessionDesk } from '@muster/health-aggregator/sources/session-desk';
import { createUpstream } from '@muster/health-aggregator/sources/upstream';
import { createQuietLog } from '@muster/testkit/quiet-log';
import { expect, test } from 'vitest';

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
  const member = { beat: { service: 'session-service', address }, state: 'up' };
  const upstream = createUpstream({
    service: 'session-service',
    fleet: { members: () => [member, member] as never },
    headers: {},
    variable: 'SERVICE_API_KEYS',
    log: createQuietLog(),
  });
  expect(await createSessionDesk(upstream).openListener('news')).toEqual({ id: 's', token: 't' });
  expect(keys).toHaveLength(2);
  expect(keys[0]).toMatch(/^[0-9a-f-]{36}$/);
  expect(keys[1]).toBe(keys[0]);
});

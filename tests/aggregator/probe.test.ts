import type { AddressInfo } from 'node:net';
import { createServer, type Server } from 'node:net';
import { createHttpProbe } from '@muster/health-aggregator/clients/http-probe';
import { createSocketProbe } from '@muster/health-aggregator/clients/websocket-probe';
import { systemClock } from '@muster/kit/clock';
import { freePorts } from '@muster/local/ports';
import { afterAll, expect, test } from 'vitest';

const servers: Server[] = [];
afterAll(() => {
  for (const server of servers) server.close();
});

/** A server that sends the same bytes to every client, or resets the connection. */
const serverSending = async (bytes: string | undefined, encoding: BufferEncoding = 'utf8'): Promise<string> => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => {
      if (bytes === 'cut') socket.resetAndDestroy();
      else if (bytes !== undefined) socket.end(bytes, encoding);
    });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
};
const probeOf = async (address: string) => {
  using probing = createHttpProbe({ clock: systemClock, timeoutMs: 300 });
  const target = { id: 'x', service: 'x', address, opsAddress: address, wantsDetail: false, periodMs: 1_000 };
  return await probing.probe(target);
};

test.each([
  ['HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n', 'ok'],
  ['HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n', 'unready'],
  ['HTTP/1.1 500 Oops\r\n\r\n', 'http_error'],
  ['SSH-2.0-OpenSSH_9.2\r\n', 'bad_body'],
  ['x'.repeat(5_000), 'bad_body'],
  ['', 'reset'],
  ['cut', 'reset'],
  [undefined, 'timeout'],
])(
  '[PB2] [PB6] [PB7] [PB8] [PB9] [PB16] given the answer %j, the result of the probe is %s',
  async (bytes, outcome) => {
    expect((await probeOf(await serverSending(bytes))).outcome).toBe(outcome);
  },
);

test('[PB9] given a port that nothing listens on, the result of the probe is refused', async () => {
  const [port = 0] = await freePorts(1);
  const { outcome, durationMs } = await probeOf(`127.0.0.1:${port}`);
  expect(outcome).toBe('refused');
  expect(durationMs).toBeLessThan(900);
});

const OPEN = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n';

test.each([
  [`${OPEN}\x8a\0`, undefined],
  ['HTTP/1.1 503 Service Unavailable\r\n\r\n', undefined],
  ['HTTP/1.1 429 Too Many Requests\r\n\r\n', undefined],
  [OPEN, 'no_socket'],
  ['HTTP/1.1 404 Not Found\r\n\r\n', 'no_socket'],
  ['nonsense\r\n\r\n', 'no_socket'],
  ['cut', 'no_socket'],
  [undefined, 'no_socket'],
])('[PB3] [PB17] [PB18] [PB19] given the answer %j to an upgrade, the fault is %s', async (bytes, fault) => {
  const probed: unknown[] = [];
  const probe = createSocketProbe({
    clock: systemClock,
    timeoutMs: 300,
    intervalMs: 60_000,
    onProbed: (...what) => probed.push(what.slice(0, 2)),
  });
  const address = await serverSending(bytes, 'latin1');
  const target = {
    id: 'x',
    service: 'gw',
    address,
    opsAddress: address,
    wantsDetail: false,
    periodMs: 1_000,
  };
  expect(await probe(target)).toBe(fault);
  expect(await probe(target)).toBe(fault);
  // A gateway that passed is not probed again within the interval; a gateway that failed is.
  expect(probed).toEqual(Array.from({ length: fault ? 2 : 1 }, () => ['gw', fault ?? 'ok']));
});

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { registryKeys } from '@muster/kit/fleet/heartbeat';
import { Redis } from 'ioredis';

// Many instances in one process: each has an address of its own on the loopback network, sends heartbeats, answers probes and opens sockets.

const [url = '', prefix = '', count = '1'] = process.argv.slice(2);
const READY = JSON.stringify({ status: 'ready', state: 'ready' });
const HEALTH = JSON.stringify({
  status: 'healthy',
  state: 'ready',
  checks: { redis: { status: 'up', latency_ms: 0.5, age_ms: 100 } },
});
const server = createServer((req, res) => {
  res.writeHead(200, { 'content-type': 'application/json' }).end(req.url === '/readyz' ? READY : HEALTH);
});
// The part of a WebSocket that a probe uses: it opens, and a ping is answered.
server.on('upgrade', (_req, socket) => {
  socket.on('error', () => {});
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
  socket.once('data', () => socket.write(Buffer.from([0x8a, 0x00])));
  socket.once('end', () => socket.end());
});
await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve));
const { port } = server.address() as AddressInfo;
const redis = new Redis(url);
const keys = registryKeys(prefix, 'muster');
const startedAt = Date.now();

const heartbeat = async (): Promise<void> => {
  const [seconds, micros] = await redis.time();
  const now = Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
  const pipeline = redis.pipeline();
  for (let index = 1; index <= Number(count); index += 1) {
    const id = `many-${String(index).padStart(4, '0')}`;
    const address = `127.0.${Math.floor(index / 250)}.${(index % 250) + 1}:${port}`;
    const payload = {
      ...{
        id,
        service: index % 10 === 0 ? 'session-service' : 'ws-gateway',
        name: id,
        address,
        opsAddress: address,
      },
      ...{ version: '1', pid: 1, startedAt, state: 'ready', dependencies: {} },
      load: { connections: Math.round(Math.random() * 5_000), connectionsLimit: 10_000 },
    };
    pipeline.set(keys.beat(id), JSON.stringify(payload), 'PX', 7_000).zadd(keys.index, now, id);
  }
  await pipeline.exec();
};
await heartbeat();
setInterval(() => void heartbeat(), 2_000);
process.stdout.write('ready\n');

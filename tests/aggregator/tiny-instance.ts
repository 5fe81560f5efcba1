import { listen } from '@muster/http/listen';
import { systemClock } from '@muster/kit/clock';
import { readSettings } from '@muster/kit/config';
import { commonConfig, commonSettings, redisConfig, redisSettings } from '@muster/kit/config-common';
import { field } from '@muster/kit/config-fields';
import { monitorEventLoop } from '@muster/kit/event-loop-delay';
import { createHeartbeat } from '@muster/kit/fleet/heartbeat';
import { createInstance } from '@muster/kit/fleet/instance';
import { watchLocalFaults } from '@muster/kit/fleet/local-fault';
import { createHealth } from '@muster/kit/health';
import { createLogger } from '@muster/kit/logger';
import { createMetrics } from '@muster/kit/metrics';
import { openOpsServer } from '@muster/kit/ops-server';
import { answerProbe } from '@muster/kit/probe-responses';
import { openRedis } from '@muster/kit/redis/connection';
import { systemRandom } from '@muster/kit/runtime';
import { z } from 'zod';

// The smallest member of a fleet: it sends heartbeats, answers probes, drains on SIGTERM and leaves.

const settings = z.object({
  ...commonSettings({ port: 0, opsPort: 0 }),
  ...redisSettings,
  SERVICE: z.string().default('tiny'),
  CHECK_INTERVAL_MS: field.ms(2_000),
  STALL_MS: field.ms(0, { min: 0 }),
  CONNECTIONS: field.count(3),
});
const values = readSettings(settings, { ...process.env, NODE_ENV: 'test', LOG_LEVEL: 'silent' });
const common = commonConfig(values);
const { service } = values;
const log = createLogger({ level: 'silent', service, instance: common.instanceName });
const metrics = createMetrics({ service, version: '1' });
const redis = await openRedis({ ...redisConfig(values), name: common.instanceName }, { log, metrics });
const health = createHealth({
  clock: systemClock,
  log,
  metrics,
  checks: { redis: () => redis.ping() },
  intervalMs: values.checkIntervalMs,
});
await health.checkNow();
const about = { service, version: '1', instance: common.instanceName, startedAt: Date.now() };
const open = await listen(
  (req, res) => {
    const answer = answerProbe(health, about, req.url ?? '', Date.now());
    res.writeHead(answer?.status ?? 404, { ...answer?.headers }).end(answer?.body);
  },
  { host: common.host, port: common.port },
);
// Busy, as far as the WebSocket probe of a gateway is concerned.
open.server.on('upgrade', (_, socket) => socket.end('HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n'));
const ops = await openOpsServer({
  host: common.host,
  port: common.opsPort,
  health,
  about,
  metrics,
  clock: systemClock,
  log,
});
const instance = createInstance({
  service,
  common,
  port: open.port,
  opsPort: ops.port,
  clock: systemClock,
});
const runtime = { clock: systemClock, random: systemRandom, log };
const { aggregatorUrls: aggregators, localFaultAfterMs: afterMs } = common;
watchLocalFaults({ ...runtime, health, instance, metrics, aggregators, afterMs });
const heartbeat = createHeartbeat({
  redis,
  instance,
  health,
  loop: monitorEventLoop(common.heartbeatIntervalMs, metrics),
  load: () => ({ connections: values.connections, connectionsLimit: 10_000 }),
  clock: systemClock,
  random: systemRandom,
  log,
  intervalMs: common.heartbeatIntervalMs,
  ttlMs: common.heartbeatTtlMs,
});
// Blocks the event loop for this time in each second.
if (values.stallMs > 0) {
  setInterval(() => {
    const until = performance.now() + values.stallMs;
    while (performance.now() < until);
  }, 1_000);
}
process.stdout.write(`${JSON.stringify({ port: open.port, opsPort: ops.port })}\n`);
process.on('SIGTERM', () => {
  health.startDraining();
  void heartbeat[Symbol.asyncDispose]().then(() => process.exit(0));
});

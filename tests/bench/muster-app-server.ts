import { requireSession, sessionOf } from '@muster/client/express';
import { systemClock } from '@muster/kit/clock';
import { createLogger } from '@muster/kit/logger';
import { createMetrics } from '@muster/kit/metrics';
import { openRedis } from '@muster/kit/redis/connection';
import { createSessionVerifier } from '@muster/session/session-verifier';
import express from 'express';

/** An application that checks Muster's sessions with the middleware. Arguments: redis URL, secret, internal URL, internal key, cache size. */
const [redisUrl = '', secret = '', serviceUrl = '', apiKey = '', cacheSize = ''] = process.argv.slice(2);
const log = createLogger({ level: 'warn', service: 'bench', instance: 'app' });
const metrics = createMetrics({ service: 'bench', version: '0' });
const redis = await openRedis(
  {
    url: redisUrl,
    prefix: 'muster:',
    maxConnections: 20,
    connectTimeoutMs: 1_000,
    commandTimeoutMs: 1_000,
    name: 'bench-app',
  },
  { log, metrics },
);
const verifier = createSessionVerifier({
  ...{ redis, log, metrics, clock: systemClock, sessionSecrets: secret.split(','), cookieName: 'session_id' },
  ...{ service: { urls: [serviceUrl], apiKey }, cacheSize: Number(cacheSize) },
});

const app = express();
app.disable('x-powered-by');
app.get('/readyz', (_req, res) => void res.json({}));
app.get('/check', requireSession(verifier), (req, res) => {
  const session = sessionOf(req);
  res.json({ id: session?.id, user: session?.userId });
});
const server = app.listen(0, '127.0.0.1', () => {
  process.send?.({ port: (server.address() as { port: number }).port });
});

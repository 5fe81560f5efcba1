import { RedisStore } from 'connect-redis';
import express from 'express';
import session from 'express-session';
import { createClient } from 'redis';

/**
 * The contestant: express-session with connect-redis, configured as its documentation shows. `/bare` is the same route
 * without a session: the share of Express and Node. Usage: REDIS_URL SECRET; prints its port.
 */
const [redisUrl = '', secret = ''] = process.argv.slice(2);
/** As long as the id of a session, so that the answers have one size. */
const BARE_ID = 'x'.repeat(36);
const client = createClient({ url: redisUrl });
await client.connect();

declare module 'express-session' {
  interface SessionData {
    user: string;
  }
}

const app = express();
app.disable('x-powered-by');
app.get('/readyz', (_req, res) => void res.json({}));
app.get('/bare', (_req, res) => void res.json({ id: BARE_ID, user: 'user-1' }));
app.use(
  session({
    store: new RedisStore({ client, prefix: 'bench-es:', ttl: 86_400 }),
    secret,
    name: 'session_id',
    resave: false,
    saveUninitialized: false,
  }),
);
app.post('/create', express.json(), (req, res) => {
  req.session.user = String(req.body.user_id);
  res.status(201).json({ id: req.sessionID, user: req.session.user });
});
app.get('/check', (req, res) => {
  if (req.session.user === undefined) res.status(401).json({});
  else res.json({ id: req.sessionID, user: req.session.user });
});
app.delete('/end', (req, res) => req.session.destroy(() => res.status(204).end()));
const server = app.listen(0, '127.0.0.1', () => {
  process.send?.({ port: (server.address() as { port: number }).port });
});

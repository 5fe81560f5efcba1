// An application with users of its own: it signs tokens for clients and answers callbacks of the gateway.
//
//   export TOKEN_HMAC_SECRET=$(openssl rand -hex 32) CALLBACK_SECRET=$(openssl rand -hex 32)
//   node examples/application.mjs
//   NODE_ENV=development … CALLBACK_RPC_URL=http://127.0.0.1:3000/muster/rpc node src/main.ts     # the gateway, same secrets
//   curl http://127.0.0.1:3000/token?user=ann
import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import { SignJWT } from 'jose';

// biome-ignore lint/style/noProcessEnv: an example is a main of its own.
const { TOKEN_HMAC_SECRET = '', CALLBACK_SECRET = '', PORT = '3000' } = process.env;
const MAX_BODY_BYTES = 131_072;
const MAX_AGE_S = 300;

/** A token for a user, valid for ten minutes. Authenticate the user before. */
const tokenFor = (user) =>
  new SignJWT({ info: { name: user }, meta: { plan: 'free' } })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(user)
    .setIssuedAt()
    .setExpirationTime('10m')
    .sign(new TextEncoder().encode(TOKEN_HMAC_SECRET));

/** True for a valid signature of the gateway that is at most five minutes old. */
const isFromGateway = (headers, body) => {
  const { 'webhook-id': id, 'webhook-timestamp': time, 'webhook-signature': signature = '' } = headers;
  if (Math.abs(Date.now() / 1000 - Number(time)) > MAX_AGE_S) return false;
  const mac = createHmac('sha256', CALLBACK_SECRET).update(`${id}.${time}.${body}`).digest('base64');
  const [given, expected] = [Buffer.from(signature), Buffer.from(`v1,${mac}`)];
  return given.length === expected.length && timingSafeEqual(given, expected);
};

/** Answers to callbacks, by path. */
const ANSWERS = {
  '/muster/subscribe': ({ user, channel }) =>
    channel.endsWith(`:${user}`)
      ? { result: { info: { role: 'owner' } } }
      : { error: { code: 403, message: 'subscription denied' } },
  '/muster/publish': ({ data }) =>
    typeof data?.text === 'string' && data.text.length <= 500
      ? { result: { data: { text: data.text.trim() } } }
      : { error: { code: 400, message: 'expected a text of at most 500 characters' } },
  '/muster/rpc': ({ method, user, meta }) =>
    method === 'whoami'
      ? { result: { data: { user, plan: meta?.plan } } }
      : { error: { code: 104, message: 'method not found' } },
};

const bodyOf = async (req) => {
  let body = '';
  for await (const chunk of req.setEncoding('utf8')) {
    body += chunk;
    if (body.length > MAX_BODY_BYTES) throw new Error('too long');
  }
  return body;
};

const server = createServer(async (req, res) => {
  const url = new URL(req.url, 'http://localhost');
  const answer = ANSWERS[url.pathname];
  try {
    if (url.pathname === '/token') return res.end(await tokenFor(url.searchParams.get('user') ?? 'ann'));
    if (answer === undefined) return res.writeHead(404).end();
    const body = await bodyOf(req);
    if (!isFromGateway(req.headers, body)) return res.writeHead(401).end();
    return res.setHeader('content-type', 'application/json').end(JSON.stringify(answer(JSON.parse(body))));
  } catch {
    return res.writeHead(400).end();
  }
});
server.listen(Number(PORT), '127.0.0.1', () => {
  process.stdout.write(`http://127.0.0.1:${server.address().port}\n`);
});

import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { MusterError } from '@muster/client/http';
import { createMySessions, createSessions } from '@muster/client/sessions';

/** The fleet that `npm start` runs: its address, and the key of a back end. */
const fleet = JSON.parse(readFileSync('.muster/fleet.json', 'utf8')) as {
  publicUrl: string;
  serviceApiKey: string;
};
const PORT = Number(process.env['PORT'] ?? 8_090);
/** A name is part of a group's name and of a grant's pattern, so it must not hold `*`, `:` and the like. */
const NAME = /^[\w-]{1,40}$/;

const sessions = createSessions({ baseUrl: fleet.publicUrl, apiKey: fleet.serviceApiKey });
const page = readFileSync(new URL('./page.html', import.meta.url), 'utf8').replace('FLEET_URL', fleet.publicUrl);

/** The SDK for the page, from its package. */
const sdk = readFileSync(fileURLToPath(new URL('../../node_modules/centrifuge/dist/centrifuge.js', import.meta.url)));

const server = createServer((req, res) => {
  answer(req, res).catch((error: unknown) => {
    const status = error instanceof MusterError && error.status >= 400 ? error.status : 500;
    send(res, status, { error: error instanceof Error ? error.message : 'failed' });
  });
});
server.listen(PORT, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo;
  process.stdout.write(`open http://127.0.0.1:${port}/\n`);
});

const answer = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
  const token = req.headers.authorization?.replace('Bearer ', '') ?? '';
  const mine = createMySessions({ baseUrl: fleet.publicUrl, token });
  switch (`${req.method} ${req.url}`) {
    case 'GET /':
      res.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(page);
      return;
    case 'GET /centrifuge.js':
      res.writeHead(200, { 'content-type': 'text/javascript' }).end(sdk);
      return;
    case 'POST /login': {
      // A real application checks a password here. Muster starts where the user is known.
      const user = await read(req);
      if (!NAME.test(user)) return send(res, 422, { error: 'a name is 1 to 40 letters, digits, "_" and "-"' });
      const group = `$notes:${user}`;
      const session = await sessions.create({
        user_id: user,
        transport: 'bearer',
        user_agent: String(req.headers['user-agent']).slice(0, 500),
        // A group whose name starts with $ requires a grant.
        grants: [{ groups: group, allow: ['subscribe', 'publish', 'history'] }],
      });
      return send(res, 201, { ...session, group });
    }
    case 'GET /devices':
      return send(res, 200, await Array.fromAsync(mine.list()));
    case 'POST /sign-out':
      return send(res, 200, await mine.end(await read(req)));
    default:
      return send(res, 404, { error: 'there is nothing here' });
  }
};

const read = async (req: IncomingMessage): Promise<string> => {
  let text = '';
  for await (const part of req) {
    text += part;
    if (text.length > 1_000) throw new Error('too much');
  }
  return text;
};

const send = (res: ServerResponse, status: number, body: unknown): void => {
  res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
};

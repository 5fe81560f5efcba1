import { once } from 'node:events';
import { Agent, get, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { type Listening, listen } from '@muster/http/listen';
import { freePorts } from '@muster/local/ports';
import { expect, test } from 'vitest';

const HOST = '127.0.0.1';
const REQUEST = 'GET / HTTP/1.1\r\nHost: one\r\n\r\n';
const CONNECTIONS = 40;

const serve = (options: { port?: number; reusePort?: boolean; text?: string } = {}): Promise<Listening> =>
  listen((_req, res) => void res.end(options.text ?? 'done'), { host: HOST, port: 0, ...options });

/** Sends one request and resolves with everything that arrives until the server closes the connection. */
const exchange = (port: number): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect(port, HOST);
    const parts: string[] = [];
    socket.setEncoding('latin1').on('data', (part: string) => parts.push(part));
    socket.once('error', reject).once('close', () => resolve(parts.join('')));
    socket.write(REQUEST);
  });

/** An idle connection: one request is answered. */
const idleConnection = async (port: number): Promise<Socket> => {
  const socket = connect(port, HOST);
  socket.write(REQUEST);
  await once(socket, 'data');
  return socket;
};

const responseOf = async (port: number, agent: Agent): Promise<IncomingMessage> => {
  const [response] = (await once(get({ host: HOST, port, agent }), 'response')) as [IncomingMessage];
  response.resume();
  await once(response, 'end');
  return response;
};

test('[HT28] given a draining server, when a request arrives on an open connection, then the response closes it', async () => {
  await using server = await serve();
  using agent = Object.assign(new Agent({ keepAlive: true, maxSockets: 1 }), {
    [Symbol.dispose]: () => agent.destroy(),
  });
  expect((await responseOf(server.port, agent)).headers.connection).toBe('keep-alive');
  await server.drain();
  expect((await responseOf(server.port, agent)).headers.connection).toBe('close');
  await server.resume();
  expect((await responseOf(server.port, agent)).headers.connection).toBe('keep-alive');
});

test.each([
  ['drains', { reusePort: true }],
  ['ends', {}],
])('[HT29] given connections in the accept queue, when the server %s, then all are answered', async (how, options) => {
  await using server = await serve(options);
  // The kernel has established them when `connect` has returned; the server accepts in later turns of this event loop.
  const exchanges = Array.from({ length: CONNECTIONS }, () => exchange(server.port));
  await (how === 'ends' ? server[Symbol.asyncDispose]() : server.drain());
  const answers = await Promise.all(exchanges);
  expect(answers.filter((text) => text.includes('done') && /connection: close/i.test(text))).toHaveLength(CONNECTIONS);
});

test('[HT30] given a request that has arrived on an idle connection, when the server ends, then it is answered', async () => {
  const server = await serve();
  const sockets = await Promise.all(Array.from({ length: CONNECTIONS }, () => idleConnection(server.port)));
  const answers = sockets.map(async (socket) => {
    const [part] = (await once(socket, 'data')) as [Buffer];
    return part.toString();
  });
  for (const socket of sockets) socket.write(REQUEST);
  await server[Symbol.asyncDispose]();
  expect((await Promise.all(answers)).filter((text) => /connection: close/i.test(text))).toHaveLength(CONNECTIONS);
});

test.runIf(process.platform === 'linux')(
  '[HT31] given servers on one port, when one drains, then the others get all new connections until it has resumed',
  async () => {
    const [port = 0] = await freePorts(1);
    await using one = await serve({ port, reusePort: true, text: 'from one' });
    await using _other = await serve({ port, reusePort: true, text: 'from other' });
    const sources = async (): Promise<Set<string>> => {
      const agents = Array.from({ length: CONNECTIONS }, () => fetch(`http://${HOST}:${port}/`, CLOSE));
      return new Set(await Promise.all(agents.map(async (response) => (await response).text())));
    };
    expect(await sources()).toEqual(new Set(['from one', 'from other']));
    await one.drain();
    expect(await sources()).toEqual(new Set(['from other']));
    await one.resume();
    expect(await sources()).toEqual(new Set(['from one', 'from other']));
  },
);

const CLOSE = { headers: { connection: 'close' } };

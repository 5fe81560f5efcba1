import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { createServer as createTcpServer, type Socket } from 'node:net';
import type { WebSocket } from 'ws';

/** Servers that do the same with other libraries. Each loads only its own. Arguments: name, port, Redis URL. */
const [name = '', port = '', redisUrl = ''] = process.argv.slice(2);

/** Socket.IO with its Redis adapter, WebSocket only, as its documents set it up. */
const startSocketIo = async (): Promise<void> => {
  const [{ createAdapter }, { Redis }, { Server }] = await Promise.all([
    import('@socket.io/redis-adapter'),
    import('ioredis'),
    import('socket.io'),
  ]);
  const publisher = new Redis(redisUrl);
  const server = createServer();
  const io = new Server(server, {
    adapter: createAdapter(publisher, publisher.duplicate()),
    transports: ['websocket'],
    perMessageDeflate: false,
    pingInterval: 600_000,
  });
  io.on('connection', (socket) => {
    socket.on('join', async (group: string) => {
      await socket.join(group);
      socket.emit('joined');
    });
    socket.on('publish', (group: string, payload: unknown) => io.to(group).emit('publication', payload));
  });
  server.listen(Number(port), '127.0.0.1');
};

/** Plain `ws`: one `send` for each member, replicas over Redis pub/sub. */
const startWs = async (): Promise<void> => {
  const [{ Redis }, { WebSocketServer }] = await Promise.all([import('ioredis'), import('ws')]);
  const publisher = new Redis(redisUrl);
  const subscriber = new Redis(redisUrl);
  const groups = new Map<string, Set<WebSocket>>();
  const server = createServer();
  const sockets = new WebSocketServer({ server, perMessageDeflate: false });
  sockets.on('connection', (socket, request) => {
    const group = groupOf(request.url ?? '');
    const members = groups.get(group) ?? new Set();
    if (members.size === 0) void subscriber.subscribe(`plain:${group}`);
    groups.set(group, members.add(socket));
    socket.on('message', (data) => {
      const text = String(data);
      if (text === 'hello') socket.send('welcome');
      else void publisher.publish(`plain:${group}`, text);
    });
    socket.on('close', () => members.delete(socket));
  });
  subscriber.on('message', (channel: string, text: string) => {
    for (const socket of groups.get(channel.slice('plain:'.length)) ?? []) socket.send(text);
  });
  server.listen(Number(port), '127.0.0.1');
};

/** The minimum of Node: no library, no replicas, no protocol; a frame is copied to every socket of its group. */
const startBareSockets = (): void => {
  const groups = new Map<string, Socket[]>();
  const server = createTcpServer((socket) => {
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    socket.once('data', (request: Buffer) => {
      const text = request.toString('latin1');
      const members = groups.get(groupOf(text)) ?? [];
      members.push(socket);
      groups.set(groupOf(text), members);
      socket.once('close', () => members.splice(members.indexOf(socket), 1));
      socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
          `Sec-WebSocket-Accept: ${acceptOf(text)}\r\n\r\n`,
      );
      socket.on('data', (bytes: Buffer) => {
        for (const payload of payloadsOf(bytes)) {
          if (String(payload) === 'hello') socket.write(frameOf(Buffer.from('welcome')));
          else for (const member of members) member.write(frameOf(payload));
        }
      });
    });
  });
  server.listen(Number(port), '127.0.0.1');
};

const groupOf = (request: string): string => /group=(\w+)/.exec(request)?.[1] ?? '';

const acceptOf = (request: string): string =>
  createHash('sha1')
    .update(`${/Sec-WebSocket-Key: (\S+)/.exec(request)?.[1] ?? ''}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest('base64');

/** Masked frames of 7-bit length whose masks are zeros, as the load sends them. */
const payloadsOf = function* (bytes: Buffer): Generator<Buffer> {
  const head = 6;
  for (let at = 0; at + head <= bytes.length; ) {
    const end = at + head + ((bytes[at + 1] ?? 0) & 127);
    yield bytes.subarray(at + head, end);
    at = end;
  }
};

const frameOf = (payload: Buffer): Buffer => Buffer.concat([Buffer.from([0x81, payload.length]), payload]);

const SERVERS: Readonly<Record<string, () => Promise<void> | void>> = {
  'socket.io': startSocketIo,
  ws: startWs,
  'bare sockets': startBareSockets,
};
const start = SERVERS[name];
if (start === undefined) throw new Error(`unknown server ${name}, expected one of ${Object.keys(SERVERS).join(', ')}`);
await start();

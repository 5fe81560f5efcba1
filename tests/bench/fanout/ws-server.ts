import { createServer } from 'node:http';
import { Redis } from 'ioredis';
import { type WebSocket, WebSocketServer } from 'ws';

/** The plain contestant: `ws`, one `send` per member, replicas over Redis pub/sub. Arguments: REDIS_URL. */
const [redisUrl = ''] = process.argv.slice(2);
const publisher = new Redis(redisUrl);
const subscriber = new Redis(redisUrl);
const groups = new Map<string, Set<WebSocket>>();
const server = createServer();
const sockets = new WebSocketServer({ server, perMessageDeflate: false });

sockets.on('connection', (socket, request) => {
  const name = new URL(request.url ?? '', 'http://bench').searchParams.get('group') ?? '';
  const members = groups.get(name) ?? new Set();
  if (members.size === 0) void subscriber.subscribe(`plain:${name}`);
  groups.set(name, members.add(socket));
  socket.on('message', (data) => {
    const text = String(data);
    if (text === 'hello') socket.send('welcome');
    else void publisher.publish(`plain:${name}`, text);
  });
  socket.on('close', () => members.delete(socket));
});
subscriber.on('message', (channel: string, text: string) => {
  for (const socket of groups.get(channel.slice('plain:'.length)) ?? []) socket.send(text);
});
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as { port: number }).port }));

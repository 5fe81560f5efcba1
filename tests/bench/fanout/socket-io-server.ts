import { createServer } from 'node:http';
import { createAdapter } from '@socket.io/redis-adapter';
import { Redis } from 'ioredis';
import { Server } from 'socket.io';

/** The contestant: Socket.IO with its Redis adapter, WebSocket only, as its documents set it up. Arguments: REDIS_URL. */
const [redisUrl = ''] = process.argv.slice(2);
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
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as { port: number }).port }));

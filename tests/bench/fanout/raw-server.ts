import { createHash } from 'node:crypto';
import { createServer, type Socket } from 'node:net';

/** The floor: no library, no replicas, no protocol; the publisher's frame goes to every socket as it is. */
const MAGIC = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const members = new Map<string, Socket[]>();

const server = createServer((socket) => {
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  socket.once('data', (request: Buffer) => {
    const text = request.toString('latin1');
    const key = /Sec-WebSocket-Key: (\S+)/.exec(text)?.[1] ?? '';
    const group = /group=(\w+)/.exec(text)?.[1] ?? '';
    const accept = createHash('sha1')
      .update(key + MAGIC)
      .digest('base64');
    const mine = members.get(group) ?? [];
    mine.push(socket);
    members.set(group, mine);
    socket.once('close', () => mine.splice(mine.indexOf(socket), 1));
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    socket.on('data', (frame: Buffer) => {
      // A masked frame of 7-bit length, its mask all zeros: taking the mask out is a copy.
      const payload = frame.subarray(6);
      const out = Buffer.concat([Buffer.from([0x81, payload.length]), payload]);
      for (const member of mine) member.write(out);
    });
  });
});
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as { port: number }).port }));

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createSeededRandom } from '@muster/testkit/seeded-random';
import { until } from '@muster/testkit/wait';
import { binaryFrame } from '@muster/ws-gateway/core/connection/websocket-frame';
import { canWriteDirectly } from '@muster/ws-gateway/socket/direct-write';
import { SocketWire } from '@muster/ws-gateway/socket/wire';
import { describe, expect, test } from 'vitest';
import { type WebSocket, WebSocketServer } from 'ws';

/** A wire, its socket, and the paused end of the peer. */
interface Pair extends AsyncDisposable {
  readonly wire: SocketWire;
  readonly socket: WebSocket;
  readonly peer: Socket;
  /** Everything that the peer reads from now to the end of the connection. */
  readToEnd(): Promise<Buffer>;
}

const HANDSHAKE =
  'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n';

const openPair = async (isDirect: boolean): Promise<Pair> => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
  await once(server, 'listening');
  const peer = connect({ port: (server.address() as { port: number }).port, host: '127.0.0.1' });
  peer.on('error', () => {});
  peer.write(HANDSHAKE);
  const [[socket]] = (await Promise.all([once(server, 'connection'), once(peer, 'data')])) as [[WebSocket], unknown];
  socket.on('error', () => {});
  peer.pause();
  return {
    wire: new SocketWire(socket, isDirect),
    socket,
    peer,
    readToEnd: async () => {
      const parts: Buffer[] = [];
      peer.on('data', (part: Buffer) => parts.push(part));
      peer.resume();
      // The close frame is not answered: half closed, the peer reads the rest and ends.
      peer.end();
      await once(peer, 'end');
      return Buffer.concat(parts);
    },
    [Symbol.asyncDispose]: async () => {
      peer.destroy();
      socket.terminate();
      await new Promise((resolve) => server.close(resolve));
    },
  };
};

/** Payloads of the unmasked frames in a stream of bytes, by opcode; throws where a frame is cut. */
const framesIn = (bytes: Buffer): { readonly opcode: number; readonly payload: Buffer }[] => {
  const frames: { opcode: number; payload: Buffer }[] = [];
  for (let at = 0; at < bytes.length; ) {
    const short = bytes.readUInt8(at + 1);
    const [head, size] =
      short < 126
        ? [2, short]
        : short === 126
          ? [4, bytes.readUInt16BE(at + 2)]
          : [10, Number(bytes.readBigUInt64BE(at + 2))];
    const first = bytes.readUInt8(at);
    if ((first & 0xf0) !== 0x80 || at + head + size > bytes.length) throw new Error(`a cut frame at ${at}`);
    frames.push({ opcode: first & 0x0f, payload: bytes.subarray(at + head, at + head + size) });
    at += head + size;
  }
  return frames;
};

const PING = 9;
const CLOSE = 8;
const SLOW_READER_BYTES = 24_000_000;

test('[OB7] given the supported runtime, when the self-test runs, then direct writes pass it', async () => {
  // It gives up after two seconds, which a machine that is busy enough may take.
  await until(canWriteDirectly, { what: 'direct writes' });
});

describe.for([true, false])('with direct writes: %s', (isDirect) => {
  test('[OB6] given a reader that pauses, when frames are written, then they arrive whole and in order', async () => {
    await using pair = await openPair(isDirect);
    const { wire, socket } = pair;
    const random = createSeededRandom(7);
    const sent: Buffer[] = [];
    let pings = 0;
    for (let bytes = 0; bytes < SLOW_READER_BYTES; ) {
      const payload = Buffer.alloc(Math.floor(random.fraction() ** 4 * 300_000), sent.length % 251);
      sent.push(payload);
      wire.write(binaryFrame(payload));
      bytes += payload.length;
      // ws writes frames of its own to the same socket.
      if (sent.length % 10 === 0) {
        pings += 1;
        socket.ping(String(pings));
      }
      // Turns in which the kernel has taken some of it, or all.
      if (sent.length % 7 === 0) await new Promise((resolve) => setImmediate(resolve));
      if (sent.length === 200) pair.peer.read(1_000_000);
    }
    expect(wire.bufferedBytes).toBeGreaterThan(0);
    wire.close(1000, 'done');
    const frames = framesIn(await pair.readToEnd());
    expect(frames.at(-1)?.opcode).toBe(CLOSE);
    const pinged = frames.filter(({ opcode }) => opcode === PING).map(({ payload }) => Number(payload));
    expect(pinged).toEqual(Array.from({ length: pings }, (_, at) => at + 1));
    const received = frames.filter(({ opcode }) => opcode === 2).map(({ payload }) => payload);
    expect(received.length).toBe(sent.length);
    expect(received.every((payload, at) => payload.equals(sent[at] ?? Buffer.alloc(0)))).toBe(true);
  });

  test('[OB13] given pending bytes, when the buffer is measured, then they are counted until the reader has taken them', async () => {
    await using pair = await openPair(isDirect);
    const { wire, peer } = pair;
    const frame = binaryFrame(Buffer.alloc(1_000_000));
    for (let count = 0; count < 20; count += 1) wire.write(frame);
    expect(wire.bufferedBytes).toBeGreaterThan(1_000_000);
    peer.resume();
    await until(() => wire.bufferedBytes === 0, { what: 'the last byte to be taken' });
    wire.write(frame);
    peer.pause();
  });

  test('[OB14] given a peer that disconnects during a write, when more is written, then no error occurs', async () => {
    await using pair = await openPair(isDirect);
    const { wire, socket, peer } = pair;
    const frame = binaryFrame(Buffer.alloc(8_000_000));
    wire.write(frame);
    wire.write(frame);
    const closed = once(socket, 'close');
    peer.resetAndDestroy();
    for (let count = 0; count < 50; count += 1) wire.write(frame);
    await closed;
    wire.write(frame);
    expect(socket.readyState).toBe(socket.CLOSED);
  });
});

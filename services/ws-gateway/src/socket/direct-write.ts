import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { after } from '@muster/kit/clock';

/*
 * A fan-out spends its time in writes, and half of what Node adds to a write is the stream around the socket: its
 * queue, its request object, its callbacks. The handle below takes bytes without any of that. It is not part of the
 * public API, so it is tried out at the start, and every write that is not the simple case goes the usual way.
 */

/** What the handle of a TCP socket can do here. */
interface Handle {
  /** 0: the kernel has taken everything. An object: libuv keeps the rest, and tells when it is written. Negative: an error. */
  writeBuffer(request: null, bytes: Uint8Array): number | Unfinished;
}

/** Bytes that the kernel has not taken yet. */
interface Unfinished {
  /** Keeps the bytes alive until they are written. */
  buffer: Uint8Array | null;
  oncomplete: ((status: number) => void) | null;
}

/** The outcome of a direct write: taken, under way (the owner will be told), or not even begun. */
export type DirectWrite = 'taken' | 'under way' | 'refused';

/** Who hears that a write that was under way is over. */
export interface WriteOwner {
  onWritten(): void;
}

/**
 * Gives bytes to the kernel past the stream. Only for sockets with nothing waiting: neither in the stream, nor from an
 * earlier direct write that is under way. `refused` has written nothing.
 */
export const writeDirectly = (socket: Socket, bytes: Uint8Array, owner: WriteOwner): DirectWrite => {
  const { _handle: handle } = socket as unknown as { readonly _handle: Handle | null };
  if (handle === null) return 'refused';
  const answer = handle.writeBuffer(null, bytes);
  if (answer === 0) return 'taken';
  // The usual way meets the same error and knows what to do with it.
  if (typeof answer === 'number') return 'refused';
  answer.buffer = bytes;
  answer.oncomplete = () => owner.onWritten();
  return 'under way';
};

const PROBE_BYTES = 262_144;
/** More than any kernel keeps for a peer that does not read. */
const MAX_PROBE_WRITES = 256;
const PROBE_TIMEOUT_MS = 2_000;

/**
 * Tries direct writes on a pair of sockets: small ones, ones that the kernel takes only in part, and usual writes
 * behind them. True when every byte arrived in order and the end was told. Never rejects, takes at most two seconds.
 */
export const canWriteDirectly = async (): Promise<boolean> => {
  const stack = new AsyncDisposableStack();
  try {
    const server = createServer({ pauseOnConnect: true });
    stack.defer(() => void server.close());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const reader = connect({ port: (server.address() as { port: number }).port, host: '127.0.0.1' });
    stack.defer(() => void reader.destroy());
    const [writer] = (await once(server, 'connection')) as [Socket];
    stack.defer(() => void writer.destroy());
    for (const socket of [reader, writer]) socket.on('error', () => {});
    const late = new Promise<false>((resolve) => {
      stack.defer(after(PROBE_TIMEOUT_MS, () => resolve(false)));
    });
    return await Promise.race([probe(writer, reader), late]);
  } catch {
    return false;
  } finally {
    await stack.disposeAsync();
  }
};

const probe = async (writer: Socket, reader: Socket): Promise<boolean> => {
  const small = Buffer.from('a word');
  if (writeDirectly(writer, small, { onWritten: () => {} }) !== 'taken') return false;
  const sent = [small];
  const written = Promise.withResolvers<void>();
  for (let count = 0; ; count += 1) {
    if (count === MAX_PROBE_WRITES) return false;
    const bytes = Buffer.alloc(PROBE_BYTES, count);
    const outcome = writeDirectly(writer, bytes, { onWritten: written.resolve });
    if (outcome === 'refused') return false;
    sent.push(bytes);
    if (outcome === 'under way') break;
  }
  const last = Buffer.from('another word');
  sent.push(last);
  writer.end(last);
  const received: Buffer[] = [];
  reader.on('data', (part: Buffer) => received.push(part));
  await Promise.all([written.promise, once(reader, 'end')]);
  return Buffer.concat(received).equals(Buffer.concat(sent));
};

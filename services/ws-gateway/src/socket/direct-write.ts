import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { after } from '@muster/kit/clock';

/*
 * A fan-out spends its time in writes, and half of Node's overhead per write is the stream around the socket: its queue,
 * request object and callbacks. The libuv handle below takes bytes without them. It is not a public API, so a self-test at
 * start-up decides whether it is used, and every write but the simple case goes through the stream.
 */

/** The part of a libuv TCP handle that is used here. */
interface Handle {
  /** 0: the kernel has accepted all bytes. An object: libuv keeps the rest and calls `oncomplete`. Negative: an error. */
  writeBuffer(request: null, bytes: Uint8Array): number | WriteRequest;
}

/** A write with bytes that the kernel has not accepted yet. */
interface WriteRequest {
  /** Keeps the bytes alive until they are written. */
  buffer: Uint8Array | null;
  oncomplete: ((status: number) => void) | null;
}

/** Outcome of a direct write: accepted, pending ({@link WriteOwner.onWritten} follows), or not attempted. */
export type DirectWrite = 'accepted' | 'pending' | 'refused';

/** Notified when a pending write has completed. */
export interface WriteOwner {
  onWritten(): void;
}

/**
 * Writes bytes to the handle of a socket, past its stream. Only for sockets without pending bytes, neither in the stream nor of an
 * earlier direct write. After `refused` nothing has been written.
 */
export const writeDirectly = (socket: Socket, bytes: Uint8Array, owner: WriteOwner): DirectWrite => {
  const { _handle: handle } = socket as unknown as { readonly _handle: Handle | null };
  if (handle === null) return 'refused';
  const result = handle.writeBuffer(null, bytes);
  if (result === 0) return 'accepted';
  // The stream gets the same error and handles it.
  if (typeof result === 'number') return 'refused';
  result.buffer = bytes;
  result.oncomplete = () => owner.onWritten();
  return 'pending';
};

const PROBE_BYTES = 262_144;
/** More than any kernel buffers for a peer that does not read. */
const MAX_PROBE_WRITES = 256;
const PROBE_TIMEOUT_MS = 2_000;

/**
 * Self-test of direct writes on a pair of sockets: small writes, writes that the kernel accepts in part, and stream writes after
 * them. True when every byte arrived in order and completion was reported. Never rejects, takes at most two seconds.
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
  const small = Buffer.from('first');
  if (writeDirectly(writer, small, { onWritten: () => {} }) !== 'accepted') return false;
  const sent = [small];
  const written = Promise.withResolvers<void>();
  for (let count = 0; ; count += 1) {
    if (count === MAX_PROBE_WRITES) return false;
    const bytes = Buffer.alloc(PROBE_BYTES, count);
    const outcome = writeDirectly(writer, bytes, { onWritten: written.resolve });
    if (outcome === 'refused') return false;
    sent.push(bytes);
    if (outcome === 'pending') break;
  }
  const last = Buffer.from('last');
  sent.push(last);
  writer.end(last);
  const received: Buffer[] = [];
  reader.on('data', (part: Buffer) => received.push(part));
  await Promise.all([written.promise, once(reader, 'end')]);
  return Buffer.concat(received).equals(Buffer.concat(sent));
};

import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import type { Dialect } from './swarm.ts';

/**
 * Members on bare sockets that read into one shared buffer: a real WebSocket client per member would make the load
 * process, and not the server, the bottleneck. Payloads are found by a marker, independent of frame boundaries; each
 * carries the time and its number in a fixed count of digits.
 */
const MARKER = Buffer.from('{"t":');
const TIME_DIGITS = 14;
const NUMBER_AT = MARKER.length + TIME_DIGITS + ',"s":'.length;
const NUMBER_DIGITS = 10;
const FIELDS_BYTES = NUMBER_AT + NUMBER_DIGITS;
const PAYLOAD_BYTES = 100;
/** Added to times and numbers so that they always have the same number of digits. */
const TIME_BASE = 10_000_000_000_000;
const NUMBER_BASE = 1_000_000_000;
const READ_BYTES = 65_536;
const NOTHING = Buffer.alloc(0);

const shared = Buffer.allocUnsafe(READ_BYTES);

/** Microseconds on the clock that all processes of the machine share. */
export const nowUs = (): number => Number(process.hrtime.bigint() / 1_000n);

/** A payload of 100 bytes with the present time. */
export const payloadOf = (number: number): string => {
  const head = `{"t":${TIME_BASE + nowUs()},"s":${NUMBER_BASE + number},"p":"`;
  return `${head}${'x'.repeat(PAYLOAD_BYTES - head.length - 2)}"}`;
};

/** Callbacks that all members of a group share. */
export interface MemberCallbacks {
  onDelivered(count: number): void;
  onDuplicate(): void;
  onLatency(ms: number): void;
  onClosed(why: string): void;
}

/** One connection in one group. */
export class Member {
  readonly #listener: MemberCallbacks;
  readonly #isSample: boolean;
  readonly #socket: Socket;
  readonly #dialect: Dialect;
  readonly #group: string;
  #greeting: string | undefined = '';
  #helloSteps = 0;
  #onJoined: (() => void) | undefined;
  /** Number of the newest publication received. */
  #last = -1;
  #tail: Buffer = NOTHING;

  constructor(
    place: { readonly port: number; readonly group: string; readonly isSample: boolean },
    dialect: Dialect,
    listener: MemberCallbacks,
    onJoined: () => void,
  ) {
    this.#listener = listener;
    this.#isSample = place.isSample;
    this.#dialect = dialect;
    this.#group = place.group;
    this.#onJoined = onJoined;
    this.#socket = connect({
      host: '127.0.0.1',
      port: place.port,
      noDelay: true,
      onread: { buffer: shared, callback: (size) => this.#onRead(size) },
    });
    this.#socket.on('error', (error) => listener.onClosed(error.message));
    this.#socket.on('close', () => listener.onClosed(`closed by the server ${this.#greeting ?? ''}`.slice(0, 400)));
    this.#socket.write(
      `GET ${dialect.path.replace('GROUP', place.group)} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`,
    );
  }

  /** Sends a text frame. */
  log(text: string): void {
    this.#socket.write(clientFrame(text));
  }

  #onRead(size: number): boolean {
    if (this.#greeting === undefined) this.#count(size);
    else this.#greet(shared.toString('latin1', 0, size));
    return true;
  }

  #greet(part: string): void {
    const greeting = (this.#greeting ?? '') + part;
    this.#greeting = greeting;
    const { hello, welcome } = this.#dialect;
    for (let step = hello[this.#helloSteps]; step !== undefined; step = hello[this.#helloSteps]) {
      if (!greeting.includes(step.after)) break;
      this.log(step.send.replaceAll('GROUP', this.#group));
      this.#helloSteps += 1;
    }
    if (!greeting.includes(welcome)) return;
    this.#greeting = undefined;
    this.#onJoined?.();
    this.#onJoined = undefined;
  }

  #count(size: number): void {
    let bytes: Buffer = shared.subarray(0, size);
    if (this.#tail.length > 0) bytes = Buffer.concat([this.#tail, bytes]);
    let count = 0;
    let end = 0;
    for (let at = bytes.indexOf(MARKER); at >= 0; at = bytes.indexOf(MARKER, end)) {
      if (at + FIELDS_BYTES > bytes.length) break;
      end = at + FIELDS_BYTES;
      const number = digits(bytes, at + NUMBER_AT, NUMBER_DIGITS) - NUMBER_BASE;
      if (number > this.#last) {
        this.#last = number;
        count += 1;
      } else this.#listener.onDuplicate();
      if (this.#isSample) {
        const sentAt = digits(bytes, at + MARKER.length, TIME_DIGITS) - TIME_BASE;
        this.#listener.onLatency((nowUs() - sentAt) / 1_000);
      }
    }
    this.#tail = tailOf(bytes, end);
    if (count > 0) this.#listener.onDelivered(count);
  }
}

const digits = (bytes: Buffer, from: number, count: number): number => {
  let value = 0;
  for (let at = from; at < from + count; at += 1) value = value * 10 + (bytes[at] ?? 48) - 48;
  return value;
};

/** Bytes that may be the start of a payload that the network has cut in two. */
const tailOf = (bytes: Buffer, from: number): Buffer => {
  for (let at = Math.max(from, bytes.length - FIELDS_BYTES + 1); at < bytes.length; at += 1) {
    const isStart = bytes[at] === 0x7b && (at + 1 >= bytes.length || bytes[at + 1] === 0x22);
    if (isStart) return Buffer.from(bytes.subarray(at));
  }
  return NOTHING;
};

/** A masked text frame (RFC 6455 §5.2). A mask of zeros is a mask. */
const clientFrame = (text: string): Buffer => {
  const payload = Buffer.from(text);
  const length =
    payload.length < 126
      ? Buffer.from([0x81, 0x80 | payload.length])
      : Buffer.from([0x81, 0x80 | 126, payload.length >> 8, payload.length & 255]);
  return Buffer.concat([length, Buffer.alloc(4), payload]);
};

import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { after, type Clock } from '@muster/kit/clock';
import type { ProbeOutcome, ProbeTarget } from '../core/ports.ts';

const PATH = '/connection/websocket';
const MAX_ANSWER_BYTES = 16_384;
/** Status codes of a gateway that is full or draining. */
const REFUSALS: ReadonlySet<string> = new Set(['429', '503']);
const STATUS_LINE = /^HTTP\/1\.1 (\d{3}) /;
/** Frames of a client (RFC 6455 §5.2), masked with zeros: a ping without content, a close with 1000. */
const PING = Buffer.from([0x89, 0x80, 0, 0, 0, 0]);
const CLOSE = Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]);
const PONG = Buffer.from([0x8a, 0x00]);

/** The last probe of an instance. */
interface LastProbe {
  readonly at: number;
  readonly isFailing: boolean;
}

interface SocketProbeOptions {
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** Interval for a healthy instance; after a failure every call probes. */
  readonly intervalMs: number;
  readonly onProbed: (service: string, outcome: ProbeOutcome, durationMs: number) => void;
}

/**
 * Opens a WebSocket to a gateway, sends a ping, waits for the pong and closes: a process that responds to HTTP may still not accept
 * WebSockets. Returns `no_socket` on failure; undefined on success, when no probe is due, or when the gateway is full or draining.
 * Never rejects.
 */
export const createSocketProbe = (options: SocketProbeOptions) => {
  const { clock, intervalMs, onProbed } = options;
  const known = new Map<string, LastProbe>();

  const forget = (now: number): void => {
    for (const [id, { at }] of known) if (now - at > intervalMs * 3) known.delete(id);
  };

  return async ({ id, service, address }: ProbeTarget): Promise<'no_socket' | undefined> => {
    const startedAt = clock.monotonic();
    const last = known.get(id);
    if (last !== undefined && !last.isFailing && startedAt - last.at < intervalMs) return undefined;
    forget(startedAt);
    const works = await acceptsWebSockets(address, options.timeoutMs);
    known.set(id, { at: clock.monotonic(), isFailing: !works });
    const outcome = works ? undefined : 'no_socket';
    onProbed(service, outcome ?? 'ok', clock.monotonic() - startedAt);
    return outcome;
  };
};

const acceptsWebSockets = (address: string, timeoutMs: number): Promise<boolean> =>
  new Promise((resolve) => {
    const { hostname, port } = new URL(`http://${address}`);
    const socket = connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 80) });
    // Only the first call of settle has an effect.
    const settle = (works: boolean): void => {
      stop();
      // The gateway closes the connection; a gateway that does not is disconnected.
      if (works) socket.setTimeout(timeoutMs, () => socket.destroy()).end(CLOSE);
      else socket.destroy();
      resolve(works);
    };
    const stop = after(timeoutMs, () => settle(false));
    let answer = Buffer.alloc(0);
    let isOpen = false;
    const readHead = (): void => {
      const end = answer.indexOf('\r\n\r\n');
      if (end < 0) return;
      const status = STATUS_LINE.exec(answer.toString('latin1', 0, end))?.[1] ?? '';
      if (status !== '101') {
        settle(REFUSALS.has(status));
        return;
      }
      isOpen = true;
      answer = answer.subarray(end + 4);
      socket.write(PING);
    };
    socket.on('data', (part: Buffer) => {
      answer = Buffer.concat([answer, part]);
      if (answer.length > MAX_ANSWER_BYTES) return settle(false);
      if (!isOpen) readHead();
      if (isOpen && answer.includes(PONG)) settle(true);
    });
    socket.on('end', () => settle(false));
    socket.on('error', () => settle(false));
    socket.write(
      `GET ${PATH} HTTP/1.1\r\nHost: ${address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`,
    );
  });

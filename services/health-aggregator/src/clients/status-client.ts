import { connect } from 'node:net';
import { after, type Clock } from '@muster/kit/clock';

const MAX_STATUS_LINE_BYTES = 1_024;
const STATUS_LINE = /^HTTP\/1\.[01] (\d{3}) /;

/** The status of an answer, or the code of what went wrong, and how long it took. */
export interface StatusAnswer {
  readonly status?: number;
  readonly fault?: string;
  readonly tookMs: number;
}

/**
 * One GET over a connection of its own, of which only the status line is read. A whole HTTP client costs three times
 * the processor time, and hundreds of probes a second are nothing but this.
 */
export const askStatus = (
  address: string,
  path: string,
  { clock, timeoutMs }: { clock: Clock; timeoutMs: number },
): Promise<StatusAnswer> =>
  new Promise((resolve) => {
    const begun = clock.monotonic();
    const { hostname, port } = new URL(`http://${address}`);
    const socket = connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 80) });
    const settle = (answer: Omit<StatusAnswer, 'tookMs'>): void => {
      stop();
      socket.destroy();
      resolve({ ...answer, tookMs: clock.monotonic() - begun });
    };
    const stop = after(timeoutMs, () => settle({ fault: 'PROBE_TIMEOUT' }));
    let text = '';
    socket.setEncoding('latin1');
    socket.on('data', (part: string) => {
      text += part;
      const end = text.indexOf('\r\n');
      if (end < 0 && text.length < MAX_STATUS_LINE_BYTES) return;
      const status = STATUS_LINE.exec(text)?.[1];
      settle(status === undefined ? { fault: 'NOT_HTTP' } : { status: Number(status) });
    });
    // Settling twice is harmless: the first answer counts.
    socket.on('end', () => settle({ fault: 'ECONNRESET' }));
    socket.on('error', (error: NodeJS.ErrnoException) => settle({ fault: error.code ?? 'UNKNOWN' }));
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${address}\r\nConnection: close\r\n\r\n`);
  });

import type { Clock } from '@muster/kit/clock';
import type { Ticks } from '../connection/timer-wheel.ts';

export const bytesOfTexts = (texts: readonly string[]): number =>
  texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);

/** Burst in seconds of the rate: after a disconnect a client recovers all its groups at once. */
const BURST_S = 4;
/** Concurrent reads of one client: their cost is known only when they are done. */
const MAX_CONCURRENT_READS = 2;

export interface ReadPacingDeps {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly ticks: Pick<Ticks, 'next'>;
  /** Bytes read from streams per second and client; 0: unlimited. */
  readonly bytesPerS: number;
  /** Called when a read is delayed. */
  onDelayed(): void;
}

interface Waiting {
  isClosed(): boolean;
  start(): void;
}

/**
 * Paces the stream reads of one client, over all its connections. A read above the rate is delayed, never rejected, so that a client
 * that reads a large history in a loop leaves Redis and the event loop to others.
 */
export class ReadPacing {
  readonly #deps: ReadPacingDeps;
  #creditBytes: number;
  #filledAt: number;
  #active = 0;
  #waiting: Waiting[] = [];
  #isTicking = false;

  constructor(deps: ReadPacingDeps) {
    this.#deps = deps;
    this.#creditBytes = deps.bytesPerS * BURST_S;
    this.#filledAt = deps.clock.monotonic();
  }

  /** Reads when the rate allows it, in order of the calls. Undefined, without a read, for a connection that is closed by then. */
  async run<T>(
    connection: { readonly isClosed: boolean },
    read: () => Promise<T>,
    bytesOf: (result: T) => number,
  ): Promise<T | undefined> {
    if (this.#deps.bytesPerS === 0) return read();
    if (this.#waiting.length === 0 && this.#hasCredit()) this.#active += 1;
    else await this.#turn(connection);
    try {
      if (connection.isClosed) return undefined;
      const result = await read();
      this.#creditBytes -= bytesOf(result);
      return result;
    } finally {
      this.#active -= 1;
      this.#proceed();
    }
  }

  #turn(connection: { readonly isClosed: boolean }): Promise<void> {
    this.#deps.onDelayed();
    const { promise, resolve } = Promise.withResolvers<void>();
    const start = (): void => {
      this.#active += 1;
      resolve();
    };
    this.#waiting.push({ isClosed: () => connection.isClosed, start });
    this.#tickLater();
    return promise;
  }

  #hasCredit(): boolean {
    const { clock, bytesPerS } = this.#deps;
    const now = clock.monotonic();
    const filled = this.#creditBytes + ((now - this.#filledAt) / 1000) * bytesPerS;
    this.#creditBytes = Math.min(bytesPerS * BURST_S, filled);
    this.#filledAt = now;
    return this.#creditBytes > 0 && this.#active < MAX_CONCURRENT_READS;
  }

  #proceed(): void {
    while (this.#waiting.length > 0 && this.#hasCredit()) this.#waiting.shift()?.start();
    if (this.#waiting.length > 0) this.#tickLater();
  }

  #tickLater(): void {
    if (this.#isTicking) return;
    this.#isTicking = true;
    void this.#deps.ticks.next().then(() => {
      this.#isTicking = false;
      const gone = this.#waiting.filter((one) => one.isClosed());
      if (gone.length > 0) this.#waiting = this.#waiting.filter((one) => !gone.includes(one));
      for (const one of gone) one.start();
      this.#proceed();
    });
  }
}

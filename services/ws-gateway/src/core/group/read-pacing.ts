import type { Clock } from '@muster/kit/clock';
import type { Ticks } from '../connection/ticks.ts';

/** Bytes of texts that were read. */
export const bytesOfTexts = (texts: readonly string[]): number =>
  texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);

/** Seconds of its share that a client may read at once: after a drop it reads what it missed in all its groups. */
const BURST_S = 4;
/** Readings of one client under way at the same time: what they cost is known when they are done. */
const READS_UNDER_WAY = 2;

export interface ReadPacingDeps {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly ticks: Pick<Ticks, 'next'>;
  /** Bytes of history that a client reads per second; 0 for no bound. */
  readonly bytesPerS: number;
  /** A reading has to wait. */
  onDelayed(): void;
}

interface Waiting {
  isOver(): boolean;
  start(): void;
}

/**
 * The share of one client, with all its connections, in what is read from streams. A reading beyond it waits its turn; it is never
 * refused. So a client that reads a large history in a loop leaves Redis and the event loop to others.
 */
export class ReadPacing {
  readonly #deps: ReadPacingDeps;
  #creditBytes: number;
  #filledAt: number;
  #underWay = 0;
  #waiting: Waiting[] = [];
  #isTicking = false;

  constructor(deps: ReadPacingDeps) {
    this.#deps = deps;
    this.#creditBytes = deps.bytesPerS * BURST_S;
    this.#filledAt = deps.clock.monotonic();
  }

  /** Reads when it is this client's turn, in the order of the calls. Undefined, and nothing is read, when the connection is over by then. */
  async run<T>(
    connection: { readonly isOver: boolean },
    read: () => Promise<T>,
    bytesOf: (result: T) => number,
  ): Promise<T | undefined> {
    if (this.#deps.bytesPerS === 0) return read();
    if (this.#waiting.length === 0 && this.#hasShare()) this.#underWay += 1;
    else await this.#turn(connection);
    try {
      if (connection.isOver) return undefined;
      const result = await read();
      this.#creditBytes -= bytesOf(result);
      return result;
    } finally {
      this.#underWay -= 1;
      this.#proceed();
    }
  }

  #turn(connection: { readonly isOver: boolean }): Promise<void> {
    this.#deps.onDelayed();
    const { promise, resolve } = Promise.withResolvers<void>();
    const start = (): void => {
      this.#underWay += 1;
      resolve();
    };
    this.#waiting.push({ isOver: () => connection.isOver, start });
    this.#tickLater();
    return promise;
  }

  #hasShare(): boolean {
    const { clock, bytesPerS } = this.#deps;
    const now = clock.monotonic();
    const filled = this.#creditBytes + ((now - this.#filledAt) / 1000) * bytesPerS;
    this.#creditBytes = Math.min(bytesPerS * BURST_S, filled);
    this.#filledAt = now;
    return this.#creditBytes > 0 && this.#underWay < READS_UNDER_WAY;
  }

  #proceed(): void {
    while (this.#waiting.length > 0 && this.#hasShare()) this.#waiting.shift()?.start();
    if (this.#waiting.length > 0) this.#tickLater();
  }

  #tickLater(): void {
    if (this.#isTicking) return;
    this.#isTicking = true;
    void this.#deps.ticks.next().then(() => {
      this.#isTicking = false;
      const gone = this.#waiting.filter((one) => one.isOver());
      if (gone.length > 0) this.#waiting = this.#waiting.filter((one) => !gone.includes(one));
      for (const one of gone) one.start();
      this.#proceed();
    });
  }
}

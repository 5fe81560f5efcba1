import { randomBytes } from 'node:crypto';
import type { Clock } from './clock.ts';
import type { Logger } from './logger.ts';

/** Dependencies of an app on its process: time, randomness, log. */
export interface Runtime {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

/** Randomness as a dependency, so that tests are repeatable. */
export interface Random {
  /** Cryptographically strong bytes. */
  bytes(size: number): Uint8Array;
  /** A number in [0, 1), for jitter only. */
  fraction(): number;
}

/** Randomness of the machine. */
export const systemRandom: Random = {
  bytes: (size) => randomBytes(size),
  fraction: () => Math.random(),
};

import { randomBytes } from 'node:crypto';
import type { Clock } from './clock.ts';
import type { Logger } from './logger.ts';

/** What an app takes from outside besides its configuration. */
export interface Runtime {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

/** Chance as an argument, so that a test can be repeated. */
export interface Random {
  /** Cryptographically strong bytes. */
  bytes(size: number): Uint8Array;
  /** A number in [0, 1), for jitter only. */
  fraction(): number;
}

/** The machine's own randomness. */
export const systemRandom: Random = {
  bytes: (size) => randomBytes(size),
  fraction: () => Math.random(),
};

import { randomBytes } from 'node:crypto';

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

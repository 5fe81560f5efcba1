import type { Random } from '@muster/kit/runtime';

const UINT32 = 2 ** 32;

/** Reproducible random numbers: a seed gives the same sequence on every machine. Not for secrets. */
export const createSeededRandom = (seed: number): Random => {
  let state = seed >>> 0;
  const fraction = (): number => {
    // mulberry32
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / UINT32;
  };
  return {
    fraction,
    bytes: (size) => Uint8Array.from({ length: size }, () => Math.floor(fraction() * 256)),
  };
};

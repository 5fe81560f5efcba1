import type { Load } from './swarm.ts';

/** One shape of load. */
export interface Workload {
  readonly name: string;
  readonly groups: number;
  readonly membersPerGroup: number;
  /** Where the publishers are: at the process that is measured, or at another replica. */
  readonly from: 'here' | 'another replica';
  readonly load: Omit<Load, 'seconds'>;
  /** Names of the contestants that can do this at all; left out for all. */
  readonly only?: readonly string[];
}

const here = (
  name: string,
  [groups, membersPerGroup]: readonly [number, number],
  load: Partial<Workload['load']>,
): Workload => ({
  ...{ name, groups, membersPerGroup, from: 'here' },
  load: { inFlight: 0, rate: 0, ...load },
});

/** Workloads in the order of the run; those of the same shape share their connections. */
export const WORKLOADS: readonly Workload[] = [
  here('1 × 1,000, one in flight', [1, 1_000], { inFlight: 1 }),
  here('1 × 1,000 at 50/s', [1, 1_000], { rate: 50 }),
  here('1 × 1,000, bursts of 16', [1, 1_000], { inFlight: 16 }),
  {
    // A million deliveries per second. Socket.IO and plain ws top out at a fifth of it, and would only fail here.
    ...here('1 × 1,000 at 1,000/s', [1, 1_000], { rate: 1_000 }),
    only: ['muster', 'bare sockets'],
  },
  here('100 × 10, one in flight each', [100, 10], { inFlight: 1 }),
  here('100 × 10 at 1,000/s', [100, 10], { rate: 1_000 }),
  {
    ...here('100 × 10 at 1,000/s, published at another replica', [100, 10], { rate: 1_000 }),
    from: 'another replica',
  },
  here('1 × 10,000, one in flight', [1, 10_000], { inFlight: 1 }),
  here('1 × 10,000 at 4/s', [1, 10_000], { rate: 4 }),
];

/** Sizes at which the memory of idle connections is taken. */
export const IDLE_SIZES: readonly number[] = [1_000, 5_000, 10_000];

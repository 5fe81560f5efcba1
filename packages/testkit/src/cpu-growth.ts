/** Ratio of the two input sizes. */
export const INPUT_FACTOR = 10;
/**
 * Upper bound of the CPU ratio of linear work, which is measured at 7 to 11. Quadratic work is measured at about 100.
 */
export const MAX_CPU_GROWTH = 12;

/** Batches per size. */
const ROUNDS = 9;
/** Factor on the number of batches while the result is above the bound. */
const MAX_EXTRA_ROUNDS = 4;
/** CPU time of one batch, ms; less is noise. */
const BATCH_CPU_MS = 4;
const MAX_CALLS = 4_096;

type Work = () => unknown;

/**
 * Ratio of the CPU times for an input of `10 * size` and of `size`. `make` prepares the work for a size.
 *
 * Both sizes run alternately in batches of equal total input, after a warm-up, so that caches and garbage collection affect
 * both alike. The minimum of several batches counts, in CPU time: other load changes it little. While the ratio is above
 * {@link MAX_CPU_GROWTH}, more batches run, because a disturbed minimum decreases. Inputs should fit the CPU caches and
 * be so large that the input dominates the call.
 */
export const cpuGrowthOf = async (size: number, make: (size: number) => Work, rounds = ROUNDS): Promise<number> => {
  const [small, large] = [make(size), make(size * INPUT_FACTOR)];
  await cpuMs(2 * INPUT_FACTOR, small);
  await cpuMs(2, large);
  const calls = await callsOfBatch(large);
  let [ofSmall, ofLarge] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  const growth = (): number => (INPUT_FACTOR * ofLarge) / ofSmall;
  for (let round = 0; round < rounds * MAX_EXTRA_ROUNDS; round += 1) {
    if (round >= rounds && growth() < MAX_CPU_GROWTH) break;
    ofSmall = Math.min(ofSmall, await cpuMs(calls * INPUT_FACTOR, small));
    ofLarge = Math.min(ofLarge, await cpuMs(calls, large));
  }
  return growth();
};

/** Number of calls that take {@link BATCH_CPU_MS} together. */
const callsOfBatch = async (work: Work): Promise<number> => {
  let calls = 1;
  while (calls < MAX_CALLS && (await cpuMs(calls, work)) < BATCH_CPU_MS) calls *= 2;
  return calls;
};

const cpuMs = async (calls: number, work: Work): Promise<number> => {
  const before = process.cpuUsage();
  for (let call = 0; call < calls; call += 1) await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
};

/** How much larger the second input is. */
export const INPUT_FACTOR = 10;
/**
 * The most that an input ten times as large may cost. Linear work is measured at 7 to 11 times, work that grows with the
 * square of its input at a hundred times.
 */
export const MAX_CPU_GROWTH = 12;

/** Batches of each size. */
const ROUNDS = 9;
/** As many times the batches are made where the machine disturbs the first ones. */
const MAX_EXTRA_ROUNDS = 4;
/** CPU of one batch; less is noise. */
const BATCH_CPU_MS = 4;
const MAX_CALLS = 4_096;

type Work = () => unknown;

/**
 * How many times the CPU an input costs that is ten times as large. `make` prepares the work for a size.
 *
 * Both sizes are worked off in batches of equal input (ten times as many calls of the small one), so that caches and garbage
 * weigh on both alike, by turns, once the compiler has seen both. The least of several batches counts, in CPU time, not wall
 * time: what else the machine does changes little. While the result is above {@link MAX_CPU_GROWTH}, more batches
 * are made: a least value that was disturbed goes down, one that the work costs does not.
 * Sizes should fit the caches of a processor: what leaves them costs more for each byte, most of all on a busy machine. They
 * should be so large that the input, not the call, is what costs.
 */
export const cpuGrowthOf = async (
  size: number,
  make: (size: number) => Work,
  rounds = ROUNDS,
): Promise<number> => {
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

/** Calls that take {@link BATCH_CPU_MS} together, found with work that is compiled by then. */
const callsOfBatch = async (work: Work): Promise<number> => {
  let calls = 1;
  while (calls < MAX_CALLS && (await cpuMs(calls, work)) < BATCH_CPU_MS) calls *= 2;
  return calls;
};

const cpuMs = async (calls: number, work: Work): Promise<number> => {
  const begun = process.cpuUsage();
  for (let call = 0; call < calls; call += 1) await work();
  const { user, system } = process.cpuUsage(begun);
  return (user + system) / 1000;
};

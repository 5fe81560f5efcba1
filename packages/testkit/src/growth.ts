/** How much larger the second input is. */
export const TIMES = 10;
/**
 * The most that an input ten times as large may cost. Linear work is measured at 7 to 12 times, work that grows with the
 * square of its input at a hundred times.
 */
export const MOST_GROWTH = 15;

/** Batches of each size. */
const ROUNDS = 9;
/** CPU of one batch; less is noise. */
const BATCH_CPU_MS = 4;

type Work = () => unknown;

/**
 * How many times the CPU an input costs that is ten times as large. `make` prepares the work for a size.
 *
 * Both sizes are worked off in batches of equal input (ten times as many calls of the small one), so that caches and garbage
 * weigh on both alike, by turns, after a batch each for the compiler. The least of several batches counts, in CPU time, not
 * wall time: what else the machine does changes little.
 * Sizes should fit the caches of a processor: what leaves them costs more for each byte, most of all on a busy machine.
 */
export const growthOf = async (
  size: number,
  make: (size: number) => Work,
  rounds = ROUNDS,
): Promise<number> => {
  const [small, large] = [make(size), make(size * TIMES)];
  await cpuMs(TIMES, small);
  await cpuMs(1, large);
  const calls = Math.ceil(BATCH_CPU_MS / Math.max(await cpuMs(1, large), BATCH_CPU_MS / 1000));
  let [ofSmall, ofLarge] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (let round = 0; round < rounds; round += 1) {
    ofSmall = Math.min(ofSmall, await cpuMs(calls * TIMES, small));
    ofLarge = Math.min(ofLarge, await cpuMs(calls, large));
  }
  return (TIMES * ofLarge) / ofSmall;
};

const cpuMs = async (calls: number, work: Work): Promise<number> => {
  const begun = process.cpuUsage();
  for (let call = 0; call < calls; call += 1) await work();
  const { user, system } = process.cpuUsage(begun);
  return (user + system) / 1000;
};

import { Pool } from 'undici';
import type { Job, Outcome, Shot } from './load.ts';

/** The load process: closed loop, or open loop at a fixed rate, where latency counts from the planned instant. */
process.once('message', (job: Job) => {
  run(job).then(
    (outcome) => process.send?.(outcome),
    (error: unknown) => {
      throw error;
    },
  );
});

const run = async (job: Job): Promise<Outcome> => {
  const pool = new Pool(job.origin, { connections: job.connections, pipelining: 1 });
  const latencies: number[] = [];
  let unexpected = 0;
  let example: string | undefined;
  let next = 0;
  const take = (): Shot | undefined => {
    if (job.once && next >= job.shots.length) return undefined;
    const shot = job.shots[next % job.shots.length];
    next += 1;
    return shot;
  };
  const send = async (shot: Shot, plannedAt: number) => {
    const answer = await pool.request({ ...shot, headers: { ...shot.headers } });
    const text = await answer.body.text();
    latencies.push(performance.now() - plannedAt);
    if (answer.statusCode === job.expectedStatus) return;
    unexpected += 1;
    example ??= `${answer.statusCode} ${text.slice(0, 200)}`;
  };
  await Promise.all(
    Array.from({ length: job.connections }, () =>
      pool.request({ method: 'GET', path: '/readyz' }).then((a) => a.body.dump()),
    ),
  );

  const cpuBefore = process.cpuUsage();
  const begun = performance.now();
  const end = begun + job.seconds * 1_000;
  if (job.rate === undefined) await closedLoop(job.connections, end, take, send);
  else await openLoop(job.rate, end, take, send);
  const seconds = (performance.now() - begun) / 1_000;
  const cpu = process.cpuUsage(cpuBefore);
  await pool.close();
  latencies.sort((a, b) => a - b);
  return {
    done: latencies.length - unexpected,
    unexpected,
    ...(example === undefined ? {} : { example }),
    seconds,
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
    ownCpuS: (cpu.user + cpu.system) / 1e6,
  };
};

type Take = () => Shot | undefined;
type SendOne = (shot: Shot, plannedAt: number) => Promise<void>;

const closedLoop = async (connections: number, end: number, take: Take, send: SendOne): Promise<void> => {
  const worker = async () => {
    for (let shot = take(); shot !== undefined && performance.now() < end; shot = take())
      await send(shot, performance.now());
  };
  await Promise.all(Array.from({ length: connections }, worker));
};

const openLoop = async (rate: number, end: number, take: Take, send: SendOne): Promise<void> => {
  const under = new Set<Promise<void>>();
  const begun = performance.now();
  for (let count = 0; ; count += 1) {
    const plannedAt = begun + (count * 1_000) / rate;
    if (plannedAt > end) break;
    const wait = plannedAt - performance.now();
    if (wait > 1) await new Promise((resolve) => setTimeout(resolve, wait));
    const shot = take();
    if (shot === undefined) break;
    const work = send(shot, plannedAt).finally(() => under.delete(work));
    under.add(work);
  }
  await Promise.all(under);
};

const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePorts } from '@muster/local/ports';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { expect, test } from 'vitest';

const stores = useTestStores();
const INSTANCES = 200;
const MEASURE_MS = 10_000;
const TICKS_PER_SECOND = 100;
const program = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

const run = (args: readonly string[], env: Record<string, string> = {}): ChildProcess & AsyncDisposable => {
  const child = spawn(process.execPath, args, { env: { ...env }, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  return Object.assign(child, {
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  });
};
/** Processor seconds that a process has used, from /proc. */
const cpuSeconds = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
};
/** Memory of its own, without the pages of the executable that all Node processes of a machine share. */
const ownMegabytes = (pid: number): number =>
  Number(/^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1_024;

// Loopback has many addresses, and processes have /proc, on Linux only.
test.runIf(process.platform === 'linux')(
  '[CT1] [CT2] given 200 instances, an aggregator uses less than a tenth of a core and 150 MB',
  async () => {
    const [port = 0] = await freePorts(1);
    await using many = run([program('./many-instances.ts'), stores.redisUrl, stores.redisPrefix, String(INSTANCES)]);
    await once(many.stdout as NodeJS.ReadableStream, 'data');
    await using aggregator = run([program('../../services/health-aggregator/src/main.ts')], {
      REDIS_URL: stores.redisUrl,
      REDIS_PREFIX: stores.redisPrefix,
      PORT: String(port),
      OPS_PORT: '0',
      LOG_LEVEL: 'silent',
    });
    // On a busy machine some instances answer slowly and are degraded, which costs as much.
    const serving = async () => {
      const { services } = (await (await fetch(`http://127.0.0.1:${port}/v1/fleet`)).json()) as {
        services: { instances: { state: string }[] }[];
      };
      const all = services.flatMap(({ instances }) => instances);
      return all.filter(({ state }) => state === 'up' || state === 'degraded').length;
    };
    await until(async () => (await serving()) === INSTANCES + 1, {
      what: 'all to be up',
      timeoutMs: 30_000,
    });
    await sleep(3_000);
    const pid = aggregator.pid ?? 0;
    const before = cpuSeconds(pid);
    await sleep(MEASURE_MS);
    const share = (cpuSeconds(pid) - before) / (MEASURE_MS / 1_000);
    const megabytes = ownMegabytes(pid);
    process.stdout.write(
      `aggregator with ${INSTANCES} instances: ${(share * 100).toFixed(1)} % of a core, ${megabytes.toFixed(0)} MB\n`,
    );
    expect(share).toBeLessThan(0.1);
    expect(megabytes).toBeLessThan(150);
  },
  60_000,
);

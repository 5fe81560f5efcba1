import { dirname } from 'node:path';
import { runCli } from '@muster/cli/cli';
import type { LocalFleet } from '@muster/fleet/fleet';
import { expect } from 'vitest';
import { startDeliveryWorkload, type WorkloadOptions } from './delivery-workload.ts';

/** Time for the load balancer to notice, as `npm start` sets it; other tests have none. */
export const LAUNCHER_DRAIN = { DRAIN_ACCEPT_MS: '1000', DRAIN_DELAY_MS: '1000' };

/** Runs `muster` in the directory of a fleet. */
export const musterIn = async (fleet: LocalFleet, line: string) => {
  const output: string[] = [];
  const errors: string[] = [];
  const code = await runCli({
    ...{ argv: line.split(' '), env: {}, cwd: dirname(fleet.dataDir) },
    out: (text) => output.push(text),
    err: (text) => {
      process.stdout.write(`${text}\n`);
      errors.push(text);
    },
    interruption: () => new AbortController().signal,
  });
  return { code, out: output.join('\n'), err: errors.join('\n') };
};

/** Rolls out while clients receive publications. Asserts that all is replaced, nothing refused or lost, and reconnects are few. */
export const assertRollout = async (
  fleet: LocalFleet,
  options: WorkloadOptions,
  command = 'rollout',
): Promise<void> => {
  const description = fleet.describe();
  const pids = () => {
    const { sessionServices, gateways, healthAggregators } = fleet.describe();
    return [...sessionServices, ...gateways, ...healthAggregators].map(({ pid }) => pid);
  };
  const before = pids();
  await using workload = await startDeliveryWorkload(description, options);
  let result: Awaited<ReturnType<typeof musterIn>> | undefined;
  await workload.publishDuring(async () => {
    result = await musterIn(fleet, command);
  });
  const report = await workload.settle();
  const reconnects = workload.clients.map(({ dropped }) => dropped.length);
  const counts = Object.entries(Object.groupBy(reconnects, String)).map(([times, of]) => `${of?.length} × ${times}`);
  process.stdout.write(
    `rollout: ${report.acknowledged} publications, ${workload.refusals.length} refused, ${report.missing.length} lost, ` +
      `${report.duplicates.length} twice; reconnects: ${counts.join(', ')}\n`,
  );
  expect(result).toMatchObject({ code: 0, out: `replaced ${before.length} instances` });
  expect(pids().filter((pid) => before.includes(pid))).toEqual([]);
  expect(report).toMatchObject({ missing: [], announced: [], announcedLate: [], duplicates: [], misordered: [] });
  expect(workload.refusals).toEqual([]);
  expect(Math.max(...reconnects)).toBeLessThanOrEqual(2);
};

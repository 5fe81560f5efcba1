import type { LocalFleet } from '@muster/fleet/fleet';
import type { DeliveryReport } from '@muster/testkit/delivery-oracle';
import type { DeliveryWorkload } from '../cluster/delivery-workload.ts';

/** Nothing missing, nothing reported as lost, nothing twice, everything in order. */
export const FLAWLESS = {
  missing: [],
  announced: [],
  announcedLate: [],
  duplicates: [],
  misordered: [],
  unexpected: [],
};

/** Waits for a fault to last; nothing else is to be seen meanwhile. */
export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Members whose socket was lost although their gateway was not touched. */
export const disconnectedClients = (workload: DeliveryWorkload, touched: readonly string[] = []): string[] =>
  workload.clients
    .filter(({ dropped }) => dropped.some((gateway) => !touched.includes(gateway)))
    .map(({ name }) => name);

/** Sum of a metric over all gateways. */
export const gatewaysMetric = async (fleet: LocalFleet, name: string): Promise<number> => {
  const texts = await Promise.all(
    fleet.describe().gateways.map(async ({ opsUrl }) => (await fetch(`${opsUrl}/metrics`)).text()),
  );
  return texts
    .flatMap((text) => text.split('\n'))
    .filter((line) => line.startsWith(name))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
};

/** Waits for the workload, logs and returns its report. */
export const assertDelivery = async (what: string, workload: DeliveryWorkload): Promise<DeliveryReport> => {
  const report = await workload.settle();
  const drops = workload.clients.reduce((sum, { dropped }) => sum + dropped.length, 0);
  process.stdout.write(
    `${what}: ${report.acknowledged} publications, ${report.deliveries} deliveries, ` +
      `${workload.refusals.length} attempts made again, ${drops} sockets lost; missing ${report.missing.length}, ` +
      `announced ${report.announced.length}, told late ${report.announcedLate.length}, twice ${report.duplicates.length}, ` +
      `misordered ${report.misordered.length}\n`,
  );
  return report;
};

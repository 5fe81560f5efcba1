import { median } from '../cpu.ts';
import type { SwarmOutcome } from './swarm.ts';

/** One contestant under one workload, once. */
export interface Measured extends SwarmOutcome {
  readonly workload: string;
  readonly contestant: string;
  /** CPU seconds of the server, user and system. */
  readonly cpuS: number;
}

/** Idle connections of one contestant. */
export interface IdleRow {
  readonly contestant: string;
  readonly size: number;
  /** Resident memory per connection. */
  readonly bytesEach: number;
  /** Server CPU per connection from the upgrade to the group, µs. */
  readonly handshakeUs: number;
}

/** Results of one run of the benchmark. */
export interface FanoutResult {
  readonly rows: readonly Measured[];
  readonly idle: readonly IdleRow[];
  readonly rounds: number;
  readonly seconds: number;
  /** Load average of the machine before anything was started. */
  readonly loadBefore: number;
}

/** True when every delivery came, once and in order. */
export const isWhole = ({ delivered, expected, duplicates }: SwarmOutcome): boolean =>
  delivered === expected && duplicates === 0;

/** The medians as Markdown. */
export const printFanout = (result: FanoutResult): string[] => [
  `${result.rounds} rounds of ${result.seconds} s; load average of the machine before: ${result.loadBefore.toFixed(2)}.`,
  ...sayFailures(result.rows),
  '',
  ...absolutes(result.rows.filter(isWhole)),
  '',
  ...ratios(result.rows.filter(isWhole)),
  ...(result.idle.length > 0 ? ['', ...idleTable(result.idle)] : []),
];

const sayFailures = (rows: readonly Measured[]): string[] => {
  const failed = rows.filter((row) => !isWhole(row));
  if (failed.length === 0) return ['Nothing was missing, twice or out of order in any row.'];
  return failed.map(
    (row) =>
      `FAILED and left out: ${row.workload}, ${row.contestant}: ${row.expected - row.delivered} of ${row.expected} missing, ${row.duplicates} twice or out of order`,
  );
};

const namesOf = (rows: readonly Measured[], pick: (row: Measured) => string): string[] => [...new Set(rows.map(pick))];

const cpuPerMillion = ({ cpuS, delivered }: Measured): number => (cpuS / delivered) * 1e6;

const of = (rows: readonly Measured[], workload: string, contestant: string): Measured[] =>
  rows.filter((row) => row.workload === workload && row.contestant === contestant);

const absolutes = (rows: readonly Measured[]): string[] => [
  '| workload | contestant | deliveries/s | CPU s per million | spread | p50 ms | p99 ms | server CPU | load CPU |',
  '| --- | --- | --: | --: | --: | --: | --: | --: | --: |',
  ...namesOf(rows, (row) => row.workload).flatMap((workload) =>
    namesOf(rows, (row) => row.contestant).flatMap((contestant) => {
      const all = of(rows, workload, contestant);
      if (all.length === 0) return [];
      const mid = (pick: (row: Measured) => number) => median(all.map(pick));
      const costs = all.map(cpuPerMillion);
      const cells = [
        ...[workload, contestant, mid((row) => row.delivered / row.seconds).toFixed(0)],
        ...[median(costs).toFixed(2), `${Math.min(...costs).toFixed(2)}–${Math.max(...costs).toFixed(2)}`],
        ...[mid((row) => row.p50).toFixed(1), mid((row) => row.p99).toFixed(1)],
        `${mid((row) => (row.cpuS / row.seconds) * 100).toFixed(0)} %`,
        `${mid((row) => (row.ownCpuS / row.seconds) * 100).toFixed(0)} %`,
      ];
      return [`| ${cells.join(' | ')} |`];
    }),
  ),
];

const ratios = (rows: readonly Measured[]): string[] => {
  const peers = namesOf(rows, (row) => row.contestant).filter((name) => name !== 'muster');
  const ratio = (workload: string, peer: string, pick: (row: Measured) => number): string => {
    const [own, other] = ['muster', peer].map((name) => median(of(rows, workload, name).map(pick)));
    const value = (own ?? Number.NaN) / (other ?? Number.NaN);
    return Number.isNaN(value) ? '–' : value.toFixed(2);
  };
  return [
    `| Muster's ratio | ${peers.flatMap((peer) => [`CPU to ${peer}`, 'deliveries/s', 'p99']).join(' | ')} |`,
    `| --- |${peers.map(() => ' --: | --: | --: |').join('')}`,
    ...namesOf(rows, (row) => row.workload).map((workload) => {
      const cells = peers.flatMap((peer) => [
        ratio(workload, peer, cpuPerMillion),
        ratio(workload, peer, (row) => row.delivered / row.seconds),
        ratio(workload, peer, (row) => row.p99),
      ]);
      return `| ${workload} | ${cells.join(' | ')} |`;
    }),
  ];
};

const idleTable = (rows: readonly IdleRow[]): string[] => [
  '| idle connections | contestant | KB each | handshake, CPU µs each |',
  '| --: | --- | --: | --: |',
  ...rows.map(
    ({ size, contestant, bytesEach, handshakeUs }) =>
      `| ${size} | ${contestant} | ${(bytesEach / 1024).toFixed(1)} | ${handshakeUs.toFixed(0)} |`,
  ),
];

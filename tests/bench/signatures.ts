import { randomBytes } from 'node:crypto';
import { createTokenSigner, newSessionId } from '@muster/session/token';

/** Dependence of the time of a check on the correct part of a forged signature. */
export interface TimingRow {
  readonly signature: string;
  readonly runs: number;
  readonly meanNs: number;
  readonly deviationNs: number;
}

export interface TimingReport {
  readonly rows: readonly [TimingRow, TimingRow];
  /** Welch's t of the two means. */
  readonly t: number;
}

const RUNS = 10_000;
const WARM_UP = 20_000;
/** Values above this share of a class are interruptions of the process, not the comparison. */
const KEPT = 0.95;
/** Usual in TVLA: below it, the means of two classes are not distinguishable. */
const SIGNIFICANT_T = 4.5;
const RIGHT_CHARACTERS = 42;

/**
 * Times `TokenSigner.verify` for two forged tokens in random order: one whose signature is right but for its last
 * character, and one that is wrong from the first. An early exit of the comparison would show as a difference.
 */
export const benchSignatures = ({ log }: { log: (line: string) => void }): TimingReport => {
  const signer = createTokenSigner([randomBytes(32).toString('hex')]);
  const token = signer.issue(newSessionId(), randomBytes(16).toString('base64url'));
  const head = token.slice(0, token.lastIndexOf('.') + 1);
  const signature = token.slice(head.length);
  const other = (character: string | undefined): string => (character === 'A' ? 'B' : 'A');
  const forged = [
    head + signature.slice(0, RIGHT_CHARACTERS) + other(signature[RIGHT_CHARACTERS]),
    head + other(signature[0]) + signature.slice(1),
  ] as const;
  for (const one of forged) if (signer.verify(one).ok) throw new Error('a forged token was accepted');

  for (let run = 0; run < WARM_UP; run += 1) signer.verify(forged[run % 2] as string);
  const times: [number[], number[]] = [[], []];
  const order = randomBytes(RUNS * 4);
  for (let run = 0; run < order.length && (times[0].length < RUNS || times[1].length < RUNS); run += 1) {
    const which = (order[run] as number) & 1 ? 1 : 0;
    const begun = process.hrtime.bigint();
    signer.verify(forged[which]);
    const took = Number(process.hrtime.bigint() - begun);
    if (times[which].length < RUNS) times[which].push(took);
  }
  log(`signatures: ${times[0].length} and ${times[1].length} runs`);
  const rows: TimingReport['rows'] = [
    rowOf('right but for the last character', times[0]),
    rowOf('wrong from the first character', times[1]),
  ];
  return { rows, t: welch(...rows) };
};

const rowOf = (signature: string, times: readonly number[]): TimingRow => {
  const kept = times.toSorted((a, b) => a - b).slice(0, Math.floor(times.length * KEPT));
  const meanNs = kept.reduce((sum, time) => sum + time, 0) / kept.length;
  const variance = kept.reduce((sum, time) => sum + (time - meanNs) ** 2, 0) / (kept.length - 1);
  return { signature, runs: kept.length, meanNs, deviationNs: Math.sqrt(variance) };
};

const welch = (one: TimingRow, other: TimingRow): number =>
  (one.meanNs - other.meanNs) / Math.sqrt(one.deviationNs ** 2 / one.runs + other.deviationNs ** 2 / other.runs);

/** A report without an assertion: a busy machine shifts means. */
export const printSignatures = ({ rows, t }: TimingReport): string[] => [
  '| forged signature | runs kept | mean ns | deviation ns |',
  '| --- | --: | --: | --: |',
  ...rows.map(
    ({ signature, runs, meanNs, deviationNs }) =>
      `| ${signature} | ${runs} | ${meanNs.toFixed(0)} | ${deviationNs.toFixed(0)} |`,
  ),
  '',
  `Welch t = ${t.toFixed(2)}: ${
    Math.abs(t) < SIGNIFICANT_T ? 'no significant difference' : 'a significant difference, look at it'
  } (|t| < ${SIGNIFICANT_T}).`,
];

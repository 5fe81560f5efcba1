import { parseArgs } from 'node:util';
import { printFanout } from './fanout/table.ts';
import { benchFanout } from './fanout.ts';
import { printRows } from './rows.ts';
import { benchSessions } from './sessions.ts';
import { benchSignatures, printSignatures } from './signatures.ts';
import { benchStorm, printStorm } from './storm.ts';

interface Options {
  readonly rounds: number;
  readonly isQuick: boolean;
  readonly seconds: number;
  readonly only: readonly string[];
  readonly workload: string;
  readonly log: (line: string) => void;
}

const BENCHES: Readonly<Record<string, (options: Options) => Promise<string[]>>> = {
  sessions: async (options) => printRows(await benchSessions(options)),
  fanout: async (options) => printFanout(await benchFanout(options)),
  storm: async (options) => printStorm(await benchStorm(options)),
  signatures: async (options) => printSignatures(benchSignatures(options)),
  realtime: async (options) => [
    ...['## Fan-out', '', ...printFanout(await benchFanout(options)), ''],
    ...['## Storm', '', ...printStorm(await benchStorm(options))],
  ],
};

/**
 * `npm run bench -- sessions|fanout|storm|signatures|realtime [--rounds 3] [--seconds 4] [--quick] [--only muster,ws] [--workload "100 × 10"]`;
 * `realtime` is `fanout` and `storm` one after the other. `--quick` is for both, the rest for `fanout`.
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    quick: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    workload: { type: 'string', default: '' },
  },
});
const log = (line: string) => void process.stdout.write(`${line}\n`);
const bench = BENCHES[positionals[0] ?? ''];
const rounds = Number(values.rounds ?? (values.quick ? 1 : 3));
const seconds = Number(values.seconds ?? (values.quick ? 2 : 4));
if (bench === undefined || !Number.isInteger(rounds) || rounds < 1 || !(seconds >= 1)) {
  log(`usage: npm run bench -- ${Object.keys(BENCHES).join('|')} [--rounds N] [--seconds N] [--quick]`);
  process.exit(2);
}
const only = values.only.split(',').filter((name) => name !== '');
const options = { rounds, seconds, isQuick: values.quick, only, workload: values.workload, log };
for (const line of ['', ...(await bench(options))]) log(line);

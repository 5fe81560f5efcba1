import { mkdirSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { benchAgainst } from './against.ts';
import { CONTESTANTS } from './contestants.ts';
import { createEnvironment } from './environment.ts';
import { type BenchRow, printRows } from './rows.ts';
import { runScenarios, type Scenario } from './run-scenarios.ts';
import { scenarios } from './scenarios.ts';
import { benchSessions } from './sessions.ts';
import { benchSignatures, printSignatures } from './signatures.ts';

/** `npm run bench`: see README.md, or `--help`. */
const USAGE = `usage: npm run bench -- [BENCH…] [options]

BENCH: fanout, publish, handshake, subscribe, idle, storm, sessions, signatures; all of them without one.

  --rounds N       rounds in which the contestants take turns (3, but 2 of the longest; 1 with --quick)
  --seconds N      seconds of load for each row (2.5; 1.5 with --quick)
  --quick          nothing above a thousand connections
  --only A,B       contestants: muster, centrifugo, socket.io, ws, bare sockets
  --workload TEXT  workloads whose names contain the text
  --checkout DIR   measures the services of another checkout
  --against REV    compares with the services of another revision, in turns; exit code 1 if a row is more than 5 % worse

Environment: CENTRIFUGO=PATH names a program; otherwise a Go toolchain builds one, once.`;

const RAW_DIRECTORY = join(import.meta.dirname, '../../.muster/bench');

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    quick: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    workload: { type: 'string', default: '' },
    checkout: { type: 'string' },
    against: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
const print = (line: string) => void process.stdout.write(`${line}\n`);
/** Progress is not part of the results, which a shell may write to a file. */
const log = (line: string) => void process.stderr.write(`${line}\n`);
const isQuick = values.quick;
const rounds = Number(values.rounds ?? (isQuick ? 1 : 3));
const seconds = Number(values.seconds ?? (isQuick ? 1.5 : 2.5));
const only = values.only.split(',').filter((name) => name !== '');
const options = { rounds, seconds, isQuick, only, workload: values.workload, checkout: values.checkout, log };

const all = scenarios(options);
const known = [...new Set(all.map(({ bench }) => bench)), 'sessions', 'signatures'];
const names = positionals.length === 0 ? known : positionals;
const isKnown =
  names.every((name) => known.includes(name)) && only.every((name) => CONTESTANTS.some((one) => one === name));
if (values.help || !isKnown || !(rounds >= 1) || !(seconds > 0)) {
  print(USAGE);
  process.exit(values.help ? 0 : 2);
}

type MeasureOptions = typeof options;

const measureScenarios = async (wanted: readonly Scenario[], measured: MeasureOptions): Promise<BenchRow[]> => {
  if (wanted.length === 0) return [];
  await using environment = await createEnvironment(measured);
  // Awaited here: the environment ends with this function.
  return await runScenarios(wanted, { ...measured, environment });
};

const measureAll = async (wanted: readonly string[], measured: MeasureOptions): Promise<BenchRow[]> => [
  ...(await measureScenarios(
    all.filter(({ bench }) => wanted.includes(bench)),
    measured,
  )),
  ...(wanted.includes('sessions') ? await benchSessions(measured) : []),
];

if (values.against !== undefined) {
  const isGood = await benchAgainst({
    ...{ revision: values.against, rounds, log, print },
    names: names.filter((name) => name !== 'signatures'),
    measure: (wanted, checkout) => measureAll(wanted, { ...options, rounds: 1, only: ['muster'], checkout }),
  });
  process.exit(isGood ? 0 : 1);
}

const loadBefore = loadavg()[0] ?? 0;
const rows = await measureAll(names, options);
const timing = names.includes('signatures')
  ? ['', '## Signatures', '', ...printSignatures(benchSignatures(options))]
  : [];
mkdirSync(RAW_DIRECTORY, { recursive: true });
const file = join(RAW_DIRECTORY, `rows-${new Date().toISOString().replaceAll(':', '-')}.json`);
writeFileSync(file, JSON.stringify(rows, null, 1));
print(`\n${rounds} rounds of ${seconds} s; load average before: ${loadBefore.toFixed(2)}; rows of all rounds: ${file}`);
for (const line of [...printRows(rows), ...timing]) print(line);

import { parseArgs } from 'node:util';
import { benchFanout, tellFanout } from './fanout.ts';
import { benchSessions, tellSessions } from './sessions.ts';

/** What every benchmark is given. */
interface Options {
  readonly rounds: number;
  readonly say: (line: string) => void;
}

const BENCHES: Readonly<Record<string, (options: Options) => Promise<string[]>>> = {
  sessions: async (options) => tellSessions(await benchSessions(options)),
  fanout: async (options) => tellFanout(await benchFanout(options)),
};

/** `npm run bench -- sessions|fanout [--rounds 3]` */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '3' } },
});
const say = (line: string) => void process.stdout.write(`${line}\n`);
const bench = BENCHES[positionals[0] ?? ''];
const rounds = Number(values.rounds);
if (bench === undefined || !Number.isInteger(rounds) || rounds < 1) {
  say(`usage: npm run bench -- ${Object.keys(BENCHES).join('|')} [--rounds N]`);
  process.exit(2);
}
for (const line of ['', ...(await bench({ rounds, say }))]) say(line);

import { parseArgs } from 'node:util';
import { benchSessions } from './sessions.ts';

/** `npm run bench -- sessions [--rounds 3]` */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '3' } },
});
const say = (line: string) => void process.stdout.write(`${line}\n`);
const BENCHES = { sessions: benchSessions } as const;
const name = positionals[0] ?? '';
if (!(name in BENCHES)) {
  say(`usage: npm run bench -- ${Object.keys(BENCHES).join('|')} [--rounds N]`);
  process.exit(1);
}
const rows = await BENCHES[name as keyof typeof BENCHES]({ rounds: Number(values.rounds), say });
say('');
say('| work | contestant | per second | p50 ms | p99 ms | CPU µs each |');
say('| --- | --- | --: | --: | --: | --: |');
for (const row of rows) {
  say(
    `| ${row.work} | ${row.contestant} | ${row.perSecond.toFixed(0)} | ${row.p50.toFixed(2)} | ${row.p99.toFixed(2)} | ${row.cpuUs.toFixed(0)} |`,
  );
}
say('');
for (const mine of rows.filter(({ contestant }) => contestant.startsWith('muster'))) {
  const peer = rows.find(({ contestant, work }) => !contestant.startsWith('muster') && work === mine.work);
  if (peer === undefined) continue;
  say(
    `${mine.work}, ${mine.contestant}: CPU ${(mine.cpuUs / peer.cpuUs).toFixed(2)} ×, p99 ${(mine.p99 / peer.p99).toFixed(2)} × ${peer.contestant}`,
  );
}

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findProgram } from '@muster/local/programs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type WebSocket, WebSocketServer } from 'ws';
import { compareRounds, printComparisons } from './against.ts';
import { contractRows } from './contract.ts';
import { buildLoadGenerator, type LoadTarget, loadFaultOf, startLoadGenerator } from './load-generator.ts';
import { type BenchRow, NO_RESULT, printRows } from './rows.ts';
import { scenarios } from './scenarios.ts';

const ROOT = join(import.meta.dirname, '../..');
const canBuild = process.platform === 'linux' && findProgram(['cc'], process.env['PATH'] ?? '') !== undefined;
const MEMBERS = 3;
/** The publication to which the fault of a server applies. */
const FAULTY = 5;

/** Delivers publication `index`, counted from 1, to the members of its group. */
type Deliver = (text: string, index: number, members: readonly WebSocket[]) => void;

const toAll: Deliver = (text, _index, members) => {
  for (const member of members) member.send(text);
};

/** A server of the plain dialect with a group, and the answer of a load generator that publishes to it. */
const runAgainst = async (deliver: Deliver, target: Partial<LoadTarget> = {}) => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  onTestFinished(() => {
    for (const client of server.clients) client.terminate();
    server.close();
  });
  const members: WebSocket[] = [];
  let published = 0;
  const nextIndex = () => {
    published += 1;
    return published;
  };
  server.on('connection', (socket) => {
    members.push(socket);
    socket.on('message', (data) => {
      const text = String(data);
      if (text === 'hello') socket.send('welcome');
      else if (text.includes('"connect"')) socket.send('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"epoch":"e"}}');
      else deliver(text, nextIndex(), members);
    });
  });
  const { port } = server.address() as AddressInfo;
  using load = await startLoadGenerator(buildLoadGenerator(join(ROOT, '.muster/bench')), {
    ...{ port, dialect: 'plain', path: '/?group=', members: MEMBERS, groups: 1, perMember: 1 },
    ...{ prefix: 'g', header: 'X-None: 1', ...target },
  });
  await load.send('connect');
  // Awaited here: the load generator ends with this function.
  return await load.send('run', { window: 2, seconds: 0.2, drain: 0.2 });
};

describe.runIf(canBuild)('the load generator', () => {
  test('[BN1] given a server that delivers every publication once, then it counts the deliveries and no fault', async () => {
    const answer = await runAgainst(toAll);
    expect(answer.publications).toBeGreaterThan(FAULTY);
    expect(answer.deliveries).toBe(answer.publications * MEMBERS);
    expect(answer.p50).toBeGreaterThan(0);
    expect(answer.p99).toBeGreaterThanOrEqual(answer.p50);
    expect(loadFaultOf(answer)).toBeUndefined();
  });

  test('[BN2] given a server that loses a publication, then it is missing', async () => {
    const answer = await runAgainst((text, index, members) => {
      toAll(text, index, index === FAULTY ? members.slice(1) : members);
    });
    expect(answer.missing).toBe(1);
    expect(loadFaultOf(answer)).toContain('1 missing');
  });

  test('[BN3] given a server that delivers a publication twice, then it is disordered', async () => {
    const answer = await runAgainst((text, index, members) => {
      toAll(text, index, members);
      if (index === FAULTY) toAll(text, index, members.slice(0, 1));
    });
    expect(loadFaultOf(answer)).toBe('1 disordered');
  });

  test('[BN4] given a server that exchanges two publications, then they are disordered', async () => {
    let held: string | undefined;
    const answer = await runAgainst((text, index, members) => {
      if (index === FAULTY) held = text;
      else toAll(text, index, members);
      if (index === FAULTY + 1 && held !== undefined) toAll(held, index, members);
    });
    expect(answer.disordered).toBeGreaterThanOrEqual(MEMBERS);
  });

  test('[BN5] given a server that closes a connection, then it is closed', async () => {
    const answer = await runAgainst((text, index, members) => {
      if (index === FAULTY) members[1]?.terminate();
      else toAll(text, index, members);
    });
    expect(loadFaultOf(answer)).toContain('1 closed');
  });

  test('[BN6] given a server that rejects a publication, then it is an error', async () => {
    const answer = await runAgainst(
      (text, index, members) => {
        const { id, publish } = JSON.parse(text) as { id: number; publish: { data: unknown } };
        const push = JSON.stringify({ push: { channel: 'g0', pub: { data: publish.data } } });
        toAll(push, index, members);
        members[0]?.send(`{"id":${id},${index === FAULTY ? '"error":{"code":103}' : '"publish":{}'}}`);
      },
      { dialect: 'centrifugo', path: '/' },
    );
    expect(loadFaultOf(answer)).toBe('1 errors');
  });
});

const rowOf = (contestant: string, value: number, more: Partial<BenchRow> = {}): BenchRow => ({
  ...{
    bench: 'publish',
    row: 'echo, one in flight',
    contestant,
    metric: 'p50',
    value,
    unit: 'ms',
    lowerIsBetter: true,
  },
  ...more,
});
const lineOf = (rows: readonly BenchRow[]): string => printRows(rows).find((line) => line.includes('p50')) ?? '';

test('[BN7] given rounds with and without a fault, then the median and the best are those without, and the fault is listed', () => {
  const rows = [rowOf('muster', 0.3), rowOf('muster', 0.1), rowOf('muster', 0.2)];
  const broken = rowOf('muster', 0.01, { fault: '3 missing' });
  expect(lineOf([...rows, broken])).toContain('| 0.200 (0.100) |');
  expect(printRows([...rows, broken])).toContain('- echo, one in flight, muster: 3 missing');
  expect(printRows(rows).at(-1)).toMatch(/^Nothing was missing/);
});

test.each([
  [[rowOf('muster', 0.2)], '≤ 0.3: met'],
  [[rowOf('muster', 0.4)], '≤ 0.3: **missed**'],
  [[rowOf('centrifugo', 0.4)], '≤ 0.3: not run'],
  [[rowOf('muster', 9, { metric: 'rate', unit: '/s', lowerIsBetter: false })], '≥ 3500: **missed**'],
])('[BN8] given a figure with a line of the contract, then the bound has its outcome: %#', (rows, bound) => {
  expect(printRows(rows).join('\n')).toContain(bound);
});

test('[BN8] given a ratio of the contract, then both sides are needed', () => {
  const warm = (contestant: string, value: number) =>
    rowOf(contestant, value, { row: 'client publish, 64 × 1, warm', metric: 'CPU per publication', unit: 'µs' });
  expect(printRows([warm('muster', 44), warm('centrifugo', 40)]).join('\n')).toContain('| 1.10 | ≤ 1.1 ×: met |');
  expect(printRows([warm('muster', 44)]).join('\n')).toContain('≤ 1.1 ×: not run');
});

test('[BN9] given a contestant whose program is not available, then its cells are not run', () => {
  const missing = rowOf('centrifugo', Number.NaN, { metric: NO_RESULT, fault: 'not run' });
  expect(lineOf([rowOf('muster', 0.2), missing])).toContain('| 0.200 | not run |');
});

test('[BN13] given a line of the contract, then a scenario has its workload', () => {
  const all = scenarios({ seconds: 1, isQuick: false });
  const rows = Map.groupBy(all, ({ bench }) => bench);
  const missing = [...rows].flatMap(([bench, list]) =>
    contractRows(bench).filter((row) => list.every((scenario) => !scenario.rows.includes(row))),
  );
  expect([...rows.keys()].flatMap(contractRows).length).toBeGreaterThan(15);
  expect(missing).toEqual([]);
});

test.runIf(canBuild)(
  '[BN10] given Linux and a C compiler, when the quick example of the README runs, then it prints the table',
  async () => {
    const readme = readFileSync(join(import.meta.dirname, 'README.md'), 'utf8');
    const [, example = ''] = /^npm run bench -- (publish --quick [^#]*[^# ]) *#/m.exec(readme) ?? [];
    const args = [join(import.meta.dirname, 'main.ts'), ...example.split(' '), '--seconds', '0.3'];
    const { stdout } = await promisify(execFile)(process.execPath, args, {
      // Ends it before the test does, so that it stops its processes.
      ...{ cwd: ROOT, env: { ...process.env, CENTRIFUGO: 'unused' }, timeout: 170_000 },
    });
    expect(stdout).toMatch(/\| echo, one in flight \| p50, ms \| [\d.]+ \| [\d.]+ \|/);
    expect(stdout).toContain('Nothing was missing, doubled or out of order');
  },
  180_000,
);

/** Rounds of a figure with these values. */
const roundsOf = (values: readonly number[], more: Partial<BenchRow> = {}): BenchRow[][] =>
  values.map((value) => [rowOf('muster', value, { metric: 'CPU each', unit: 'µs', ...more })]);
const BEFORE = [100, 104, 98, 101, 99, 103];

test.each([
  ['the same values', BEFORE, 'ok'],
  ['4 % more', BEFORE.map((value) => value * 1.04), 'ok'],
  ['half', BEFORE.map((value) => value / 2), 'ok'],
  ['6 % more in every round', BEFORE.map((value) => value * 1.06), 'regression'],
  ['a median of 6 % more, but less in some rounds', [90, 95, 108, 108, 106, 110], 'undecided'],
  ['double, in too few rounds', [200, 208], 'undecided'],
  ['no value', [], 'undecided'],
])('[BN11] given %s, then the outcome of a comparison: %#', (_name, after, outcome) => {
  expect(compareRounds(roundsOf(BEFORE), roundsOf(after)).map((one) => one.outcome)).toEqual([outcome]);
});

test('[BN11] given a figure of which more is better, then less is worse', () => {
  const rate = { metric: 'rate', unit: '/s', lowerIsBetter: false };
  const [one] = compareRounds(
    roundsOf(BEFORE, rate),
    roundsOf(
      BEFORE.map((value) => value * 0.9),
      rate,
    ),
  );
  expect(one).toMatchObject({ outcome: 'regression', ratio: expect.closeTo(1.11, 2) });
});

test('[BN12] given a regression, then the table and the list name it', () => {
  const rows = compareRounds(roundsOf(BEFORE), roundsOf(BEFORE.map((value) => value * 2)));
  const lines = printComparisons(rows, 'v1');
  const name = 'publish, echo, one in flight, muster, CPU each';
  expect(lines.find((line) => line.startsWith(`| ${name} `))).toContain('| 2.000 | 2.000–2.000 | 6 | **regression** |');
  expect(lines.at(-1)).toBe(`- ${name}: regression, ratio 2.000`);
  expect(printComparisons(compareRounds(roundsOf(BEFORE), roundsOf(BEFORE)), 'v1').at(-1)).toMatch(/^1 figures: none/);
});

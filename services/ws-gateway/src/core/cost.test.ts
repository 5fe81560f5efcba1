import { createAddressReader } from '@muster/http/client-address';
import { parseTagsFilter } from '@muster/protocol/tags-filter';
import { readCredential } from '@muster/session/credential';
import { describe, expect, test } from 'vitest';
import { matchesGlob } from './glob.ts';
import { DEFAULT_OPTIONS } from './namespaces.ts';
import { engineUnderTest, settle } from './testing.ts';

/**
 * How much larger the second input is, and the most that it may cost: linear work was measured at 8 to 18 times (collections
 * that leave the caches, garbage), quadratic work is a hundred times.
 */
const TIMES = 10;
const MOST_TIMES = 30;
const TRIES = 5;
/** Less is noise. */
const LEAST_CPU_MS = 3;

const cpuMs = async (work: () => unknown): Promise<number> => {
  const begun = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(begun);
  return (user + system) / 1000;
};

/** CPU time, not wall time, and the least of several tries: another process on the machine changes neither. */
const leastCpuMs = async (repeats: number, work: () => unknown): Promise<number> => {
  let least = Number.POSITIVE_INFINITY;
  for (let count = 0; count < TRIES; count += 1) {
    const cost = await cpuMs(async () => {
      for (let n = 0; n < repeats; n += 1) await work();
    });
    least = Math.min(least, cost);
  }
  return least;
};

/** How many times as much an input costs that is ten times as large. */
const growth = async (size: number, make: (size: number) => () => unknown): Promise<number> => {
  const [small, large] = [make(size), make(size * TIMES)];
  for (const one of [small, large]) await one();
  const once = await leastCpuMs(1, small);
  const repeats = Math.max(1, Math.ceil(LEAST_CPU_MS / Math.max(once, 0.01)));
  return (await leastCpuMs(repeats, large)) / (await leastCpuMs(repeats, small));
};

const { retention } = DEFAULT_OPTIONS;
const api = (method: string, params: (size: number) => object) => {
  const { engine } = engineUnderTest({ groups: { retention } });
  return (size: number) => {
    const value = params(size);
    const text = JSON.stringify(value);
    return async () => {
      const outcome = await engine.api.call(method, value, { text: text });
      expect(outcome.ok).toBe(true);
    };
  };
};
const names = (size: number): string[] => Array.from({ length: size }, (_, n) => `g:${n}`);
const frames = async (frame: (size: number) => string) => {
  const one = await engineUnderTest().connected();
  return (size: number) => {
    const text = frame(size);
    return async () => {
      one.connection.onText(text);
      await settle();
      one.wire.messages.length = 0;
    };
  };
};
const evil = (size: number): string => 'a'.repeat(size);

const entry = (
  what: string,
  size: number,
  open: () => ((size: number) => () => unknown) | Promise<(size: number) => () => unknown>,
): [string, number, typeof open] => [what, size, open];

describe('[LM10] the cost of larger input', () => {
  test.each([
    entry('groups of a broadcast', 200, () =>
      api('broadcast', (size) => ({ channels: names(size), data: { n: 1 }, tags: { a: 'b' } })),
    ),
    entry('bytes of a publication by the server API', 20_000, () =>
      api('publish', (size) => ({ tags: { a: 'b' }, channel: 'a', data: evil(size) })),
    ),
    entry('calls of a batch', 50, () =>
      api('batch', (size) => ({
        commands: names(size).map((channel) => ({ publish: { channel, data: 1 } })),
      })),
    ),
    entry('clients of a whitelist', 2_000, () =>
      api('disconnect', (size) => ({ user: 'x', whitelist: names(size) })),
    ),
    entry('commands of a frame', 50, () =>
      frames((size) =>
        names(size)
          .map((channel, id) => JSON.stringify({ id: id + 1, publish: { channel, data: 1 } }))
          .join('\n'),
      ),
    ),
    entry('bytes of a command', 5_000, () =>
      frames((size) => JSON.stringify({ id: 1, publish: { channel: 'a', data: '"\\'.repeat(size) } })),
    ),
    entry('conditions of a tags filter', 200, () => (size) => {
      const filter = { op: 'or', nodes: names(size).map((val) => ({ cmp: 'eq', key: 'k', val })) };
      return () => parseTagsFilter(filter as never);
    }),
    entry('characters of a name that a pattern almost matches', 5_000, () => (size) => {
      const name = evil(size);
      return () => matchesGlob('*a*aab', name);
    }),
    entry('bytes of an Authorization header', 1_000, () => (size) => {
      const headers = { cookieHeader: undefined, authorization: `Bearer ${' '.repeat(size)}x y` };
      return () => readCredential(headers, 'session_id');
    }),
    entry('cookies of a request', 50, () => (size) => {
      const cookieHeader = names(size)
        .map((name) => `session_id=${name}`)
        .join('; ');
      return () => readCredential({ cookieHeader, authorization: undefined }, 'session_id');
    }),
    entry('addresses in X-Forwarded-For', 50, () => {
      const addressOf = createAddressReader(['10.0.0.0/8']);
      return (size) => {
        const forwardedFor = names(size)
          .map(() => '10.1.2.3')
          .join(', ');
        return () => addressOf({ remote: '10.0.0.1', forwardedFor });
      };
    }),
  ])('ten times the %s cost about ten times the CPU', { timeout: 60_000 }, async (_what, size, open) => {
    expect(await growth(size, await open())).toBeLessThan(MOST_TIMES);
  });
});

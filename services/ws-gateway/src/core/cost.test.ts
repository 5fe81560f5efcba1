import { createAddressReader } from '@muster/http/client-address';
import { parseTagsFilter } from '@muster/protocol/tags-filter';
import { readCredential } from '@muster/session/credential';
import { isGranted } from '@muster/session/grants';
import { cpuGrowthOf, MAX_CPU_GROWTH } from '@muster/testkit/cpu-growth';
import { describe, expect, test } from 'vitest';
import { parseGroups } from '../config/groups.ts';
import { matchesGlob } from './api/glob.ts';
import { engineUnderTest, settle } from './engine-fixture.ts';

/** Groups keep little: their streams are full after a few calls, and memory does not grow while it is measured. */
const retention = { size: 4, ttlMs: 300_000, metaTtlMs: 3_000_000 };
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
/** Larger than any input here: what is refused for its size costs nothing. */
const SIZES = { maxMessageBytes: 16_777_216, maxPublicationBytes: 4_194_304, maxSendBufferBytes: 16_777_216 };
const frames = async (frame: (size: number) => string) => {
  const one = await engineUnderTest({ limits: SIZES }).connected();
  return (size: number) => {
    const text = frame(size);
    return async () => {
      one.connection.onFrame(text);
      await settle();
      expect(one.wire.closed).toBeUndefined();
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

describe('[LM10] given ten times the input, when it is processed', () => {
  test.each([
    entry('groups of a broadcast', 100, () =>
      api('broadcast', (size) => ({ channels: names(size), data: { n: 1 }, tags: { a: 'b' } })),
    ),
    entry('bytes of a publication by the server API', 10_000, () =>
      api('publish', (size) => ({ tags: { a: 'b' }, channel: 'a', data: evil(size) })),
    ),
    entry('calls of a batch', 100, () =>
      api('batch', (size) => ({
        commands: names(size).map((channel) => ({ publish: { channel, data: 1 } })),
      })),
    ),
    entry('clients of a whitelist', 300, () => api('disconnect', (size) => ({ user: 'x', whitelist: names(size) }))),
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
    entry('characters of a name that a namespace matches with a pattern', 250, () => {
      const table = parseGroups({ without_namespace: { channel_regex: '^(a+)+$' } });
      return (size) => {
        const name = `${evil(size)}!`;
        return () => table.withoutNamespace.nameRegex?.test(name);
      };
    }),
    entry('namespaces of a groups file', 20, () => (size) => {
      const namespaces = names(size).map((_, n) => ({ name: `n${n}`, channel_regex: '^n[0-9]+:[a-z]+$' }));
      return () => parseGroups({ namespaces });
    }),
    entry('grants of a session', 40, () => (size) => {
      const allow = ['publish'] as const;
      const grants = names(size).map((name) => ({ groups: `${name}:*`, allow }));
      return () => isGranted(grants, 'g:none', 'publish');
    }),
    entry('characters of a grant', 5_000, () => (size) => {
      const grants = [{ groups: `${evil(size)}*`, allow: ['publish'] as const }];
      const group = evil(size);
      return () => isGranted(grants, group, 'publish');
    }),
    entry('bytes of an Authorization header', 1_000, () => (size) => {
      const headers = { authorization: `Bearer ${' '.repeat(size)}x y` };
      return () => readCredential(headers, 'session_id');
    }),
    entry('cookies of a request', 50, () => (size) => {
      const cookieHeader = names(size)
        .map((name) => `session_id=${name}`)
        .join('; ');
      return () => readCredential({ cookie: cookieHeader }, 'session_id');
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
  ])('then ten times the %s take about ten times the CPU time', { timeout: 60_000 }, async (_what, size, open) => {
    expect(await cpuGrowthOf(size, await open())).toBeLessThan(MAX_CPU_GROWTH);
  });
});

import type { GroupName } from '@muster/protocol/ids';
import { expect, test } from 'vitest';
import { createNamespaces, DEFAULT_OPTIONS } from '../core/namespaces.ts';
import { opensNothing, parseGroups, RENAMED_OPTIONS } from './groups.ts';

const optionsIn = (content: unknown, group: string) => {
  const table = parseGroups(content);
  return createNamespaces(() => table).optionsOf(group as GroupName);
};

test('[NS1] [NS11] given a groups file, when options are resolved, then they are those of the namespace before the first colon', () => {
  const file = {
    without_namespace: { max_members: 1 },
    namespaces: [{ name: 'chat', max_members: 2 }],
  };
  for (const [group, members] of [
    ['lobby', 1],
    ['$lobby', 1],
    ['chat:1', 2],
    ['chat:a:b', 2],
    ['$chat:1', 2],
  ] as const) {
    expect(optionsIn(file, group)?.maxMembers).toBe(members);
  }
  for (const group of ['news:1', ':1', '__proto__:1', 'constructor:1']) expect(optionsIn(file, group)).toBeUndefined();
});

test('[NS2] given a permissive namespace, when it omits options, then they are as without a file', () => {
  expect(optionsIn({ without_namespace: { permissive: true } }, 'lobby')).toEqual(DEFAULT_OPTIONS);
});

test('[NS8] [NS17] given a namespace, when it omits permissions, then they are denied unless it is permissive', () => {
  const news = (options: object) => optionsIn({ namespaces: [{ name: 'news', ...options }] }, 'news:1');
  const rights = (options: object) =>
    Object.entries(news(options) ?? {})
      .filter(([name, isOpen]) => /^allow.*For/.test(name) && isOpen)
      .map(([name]) => name);
  expect(rights({})).toEqual([]);
  expect(rights({ allow_subscribe_for_client: true })).toEqual(['allowSubscribeForClient']);
  expect(optionsIn({ namespaces: [] }, 'lobby')?.allowPublishForClient).toBe(false);
  expect(rights({ permissive: true, allow_publish_for_client: false })).toEqual([
    'allowSubscribeForClient',
    'allowPublishForSubscriber',
    'allowPresenceForSubscriber',
    'allowHistoryForSubscriber',
  ]);
  expect(opensNothing(news({}) ?? DEFAULT_OPTIONS)).toBe(true);
  for (const open of [{ permissive: true }, { allow_history_for_client: true }, { subscribe_callback: true }])
    expect(opensNothing(news(open) ?? DEFAULT_OPTIONS)).toBe(false);
});

test('[NS9] [NS20] given options of Centrifugo, when they are read, then they are accepted, or rejected with the replacement', () => {
  const mode = (options: object) => optionsIn({ without_namespace: options }, 'a')?.recoveryMode;
  expect(mode({ force_recovery_mode: 'cache' })).toBe('cache');
  expect(mode({ force_recovery_mode: '' })).toBe('stream');
  expect(mode({ recovery_mode: 'stream', force_recovery_mode: 'cache' })).toBe('stream');
  expect(mode({ allow_user_limited_channels: true })).toBe('stream');
  const problem = (content: unknown): string => {
    try {
      parseGroups(content);
      return '';
    } catch (error) {
      return String(error);
    }
  };
  for (const option of RENAMED_OPTIONS) {
    const text = problem({ namespaces: [{ name: 'x', [option]: true }] });
    expect(text).toContain(`namespaces.0: ${option}: `);
    expect(text).toMatch(/: (?:is not supported: |use `)/);
    expect(text).toContain('docs/migrating-from-centrifugo.md');
  }
  expect(problem({ channel: { namespaces: [] } })).toContain('channel: move its content');
});

test('[NS10] [NS21] given a pattern for names, when it is matched, then that takes linear time, and backtracking patterns are rejected', () => {
  const matches = (pattern: string, name: string) =>
    optionsIn({ namespaces: [{ name: 're', channel_regex: pattern }] }, 're:1')?.nameRegex?.test(name);
  const name = `re:${'a'.repeat(252)}`;
  const before = process.cpuUsage();
  for (let n = 0; n < 100; n += 1) expect(matches('^re:(a+)+$', `${name}!`)).toBe(false);
  expect(process.cpuUsage(before).user / 1000).toBeLessThan(2_000);
  expect(matches('^re:(a+)+$', name)).toBe(true);
  expect(matches('^re:[0-9]+$', 're:17')).toBe(true);
  for (const pattern of ['(?=a)', '(a)\\1', '(']) expect(() => matches(pattern, 'a')).toThrow('RE2');
});

test('[NS3] given durations with and without units, when they are read, then they are milliseconds, and zero keeps no history', () => {
  const retention = (options: object) => optionsIn({ without_namespace: options }, 'a')?.retention;
  expect(retention({ history_size: 5, history_ttl: '30s', history_meta_ttl: '1h' })).toEqual({
    size: 5,
    ttlMs: 30_000,
    metaTtlMs: 3_600_000,
  });
  expect(retention({ history_ttl: 1500, history_meta_ttl: 10 })).toMatchObject({
    ttlMs: 1500,
    metaTtlMs: 1500,
  });
  expect(retention({ history_size: 0 })).toBeUndefined();
  expect(retention({ history_ttl: '0s' })).toBeUndefined();
});

test('[NS4] given an invalid file, when it is read, then all problems are reported at once', () => {
  const file = {
    without_namespace: { history_ttl: 'soon', presense: true },
    namespaces: [{ name: 'a b' }, { name: 'x', channel_regex: '(' }, { name: 'x', history_size: -1 }],
  };
  const problems = (() => {
    try {
      parseGroups(file);
      return '';
    } catch (error) {
      return String(error);
    }
  })();
  for (const part of ['history_ttl', 'presense', 'namespaces.0.name', 'channel_regex', 'history_size']) {
    expect(problems).toContain(part);
  }
});

import type { GroupName } from '@muster/protocol/ids';
import { expect, test } from 'vitest';
import { parseGroups } from './config-groups.ts';
import { createNamespaces, DEFAULT_OPTIONS } from './core/namespaces.ts';

const optionsIn = (content: unknown, group: string) => {
  const table = parseGroups(content);
  return createNamespaces(() => table).optionsOf(group as GroupName);
};

test('[NS1] a name belongs to the namespace before its first colon, without one to none', () => {
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
  for (const group of ['news:1', ':1', '__proto__:1', 'constructor:1'])
    expect(optionsIn(file, group)).toBeUndefined();
});

test('[NS2] what a namespace does not say is as without a file', () => {
  expect(optionsIn({}, 'lobby')).toEqual(DEFAULT_OPTIONS);
});

test('[NS3] durations are numbers of milliseconds or texts with a unit; no size or no time keeps nothing', () => {
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

test('[NS4] everything that is wrong with a file is named at once', () => {
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

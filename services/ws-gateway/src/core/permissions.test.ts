import type { GroupName } from '@muster/protocol/ids';
import type { SessionGrant } from '@muster/session/grants';
import type { SessionId } from '@muster/session/token';
import { expect, test } from 'vitest';
import { DEFAULT_OPTIONS } from './namespaces.ts';
import { isAllowed } from './permissions.ts';

const ask = (
  action: 'subscribe' | 'publish' | 'presence' | 'history',
  group: string,
  more: { user?: string; grants?: readonly SessionGrant[]; isSubscribed?: boolean; options?: object } = {},
) =>
  isAllowed({
    action,
    group: group as GroupName,
    identity: {
      tenant: 'default',
      sessionId: 's' as SessionId,
      user: more.user ?? 'ann',
      expiresAt: 0,
      ...(more.grants === undefined ? {} : { grants: more.grants }),
    },
    options: { ...DEFAULT_OPTIONS, ...more.options },
    isSubscribed: more.isSubscribed ?? false,
  });

test('[PM1] [PM5] given the default options, when a session requests actions, then it may subscribe and publish, and query where it is subscribed', () => {
  expect([ask('subscribe', 'a'), ask('publish', 'a')]).toEqual([true, true]);
  expect([ask('presence', 'a'), ask('history', 'a')]).toEqual([false, false]);
  expect([ask('presence', 'a', { isSubscribed: true }), ask('history', 'a', { isSubscribed: true })]).toEqual([
    true,
    true,
  ]);
});

test('[PM2] given users in the name of a group, when others request actions, then they are denied', () => {
  for (const group of ['#ann', 'talk#bob,ann', 'user:#ann']) expect(ask('subscribe', group)).toBe(true);
  for (const group of ['#bob', 'talk#bob', 'talk#', '#annabel', 'a#ann#bob'])
    expect(ask('subscribe', group)).toBe(false);
  expect(ask('publish', 'talk#bob')).toBe(false);
  expect(ask('subscribe', '#', { user: '' })).toBe(false);
});

test('[PM3] [PM6] given a private group, when a session without a grant requests actions, then they are denied', () => {
  expect(ask('subscribe', '$vip')).toBe(false);
  expect(ask('publish', '$vip')).toBe(false);
  expect(ask('publish', '$vip', { isSubscribed: true })).toBe(true);
  const grants: SessionGrant[] = [{ groups: '$v*', allow: ['subscribe'] }];
  expect(ask('subscribe', '$vip', { grants })).toBe(true);
  expect(ask('publish', '$vip', { grants })).toBe(false);
});

test('[PM4] given a grant, when the options deny the action, then it is permitted', () => {
  const options = {
    allowSubscribeForClient: false,
    allowPublishForClient: false,
    allowPublishForSubscriber: false,
  };
  expect(ask('subscribe', 'chat:1', { options })).toBe(false);
  const grants: SessionGrant[] = [{ groups: 'chat:*', allow: ['subscribe', 'publish'] }];
  expect([ask('subscribe', 'chat:1', { options, grants }), ask('publish', 'chat:1', { options, grants })]).toEqual([
    true,
    true,
  ]);
  expect(ask('subscribe', 'news:1', { options, grants })).toBe(false);
});

test('[PM7] given a grant of `subscribe` only, when the subscriber requests other actions, then the options for subscribers apply', () => {
  const grants: SessionGrant[] = [{ groups: '$v*', allow: ['subscribe'] }];
  for (const action of ['publish', 'presence', 'history'] as const) {
    expect(ask(action, '$vip', { grants, isSubscribed: true })).toBe(true);
  }
  const options = {
    allowPublishForClient: false,
    allowPublishForSubscriber: false,
    allowHistoryForClient: false,
    allowHistoryForSubscriber: false,
  };
  for (const action of ['publish', 'history'] as const) {
    expect(ask(action, '$vip', { grants, isSubscribed: true, options })).toBe(false);
  }
});

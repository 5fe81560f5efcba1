import { expect, test, vi } from 'vitest';

test('[CO22] given any name of a group or user, when its link is followed, then it leads to its page', async () => {
  vi.stubGlobal('location', { hash: '#sessions/ann' });
  const { linkTo, currentRoute, routeOf } = await import('./router.ts');
  expect(currentRoute.value).toEqual({ page: 'sessions', about: 'ann', tenant: '' });
  for (const about of ['', 'lobby', 'a/b#c %', 'what?tenant=shop', 'chat:one two', '☂']) {
    for (const tenant of ['', 'shop', '*', 'a.b-c_1'])
      expect(routeOf(linkTo('groups', about, tenant))).toEqual({ page: 'groups', about, tenant });
  }
  expect(['', '#', '#nowhere', '#groups/%'].map((text) => routeOf(text).page)).toEqual([
    'status',
    'status',
    'status',
    'groups',
  ]);
});

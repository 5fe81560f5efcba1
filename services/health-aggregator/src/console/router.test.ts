import { expect, test, vi } from 'vitest';

test('[CO11] links lead to pages, whatever the name of a group or user is', async () => {
  vi.stubGlobal('location', { hash: '#sessions/ann' });
  const { linkTo, currentRoute: place, routeOf: placeOf } = await import('./router.ts');
  expect(place.value).toEqual({ page: 'sessions', about: 'ann', tenant: '' });
  for (const about of ['', 'lobby', 'a/b#c %', 'what?tenant=shop', 'chat:one two', '☂']) {
    for (const tenant of ['', 'shop', '*', 'a.b-c_1'])
      expect(placeOf(linkTo('groups', about, tenant))).toEqual({ page: 'groups', about, tenant });
  }
  expect(['', '#', '#nowhere', '#groups/%'].map((text) => placeOf(text).page)).toEqual([
    'status',
    'status',
    'status',
    'groups',
  ]);
});

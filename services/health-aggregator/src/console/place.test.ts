import { expect, test, vi } from 'vitest';

test('[CO11] links lead to pages, whatever the name of a group or user is', async () => {
  vi.stubGlobal('location', { hash: '#sessions/ann' });
  const { linkTo, place, placeOf } = await import('./place.ts');
  expect(place.value).toEqual({ page: 'sessions', about: 'ann' });
  for (const about of ['', 'lobby', 'a/b#c %', 'chat:one two', '☂']) {
    expect(placeOf(linkTo('groups', about))).toEqual({ page: 'groups', about });
  }
  expect(['', '#', '#nowhere', '#groups/%'].map((text) => placeOf(text).page)).toEqual([
    'status',
    'status',
    'status',
    'groups',
  ]);
});

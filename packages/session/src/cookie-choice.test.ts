import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type CredentialStatus, firstLiveSession } from './cookie-choice.ts';

const decide = async (standings: readonly CredentialStatus[]) => {
  const asked: string[] = [];
  const won = await firstLiveSession(
    standings.map((_, at) => String(at)),
    (token) => {
      asked.push(token);
      return { token, standing: standings[Number(token)]! };
    },
    ({ standing }) => standing,
  );
  return { won: won && Number(won.token), asked: asked.length };
};

test('[CR4] the first live credential wins, else the refusal that says most', async () => {
  expect(await decide([])).toEqual({ won: undefined, asked: 0 });
  expect((await decide(['ended', 'live', 'live'])).won).toBe(1);
  expect((await decide(['invalid', 'stale', 'ended', 'ended'])).won).toBe(2);
  expect((await decide(['ended', 'invalid'])).won).toBe(0);
  expect(await decide(['invalid', 'unavailable', 'live'])).toEqual({ won: 1, asked: 2 });
});

test('[CR4] four credentials are looked up; forged ones are not counted', async () => {
  const forged = Array<CredentialStatus>(60).fill('forged');
  expect((await decide([...forged, 'ended', 'ended', 'stale', 'live'])).won).toBe(63);
  expect(await decide(['ended', 'forged', 'ended', 'stale', 'invalid', 'live'])).toEqual({
    won: 0,
    asked: 5,
  });
  expect((await decide(['forged', 'invalid'])).won).toBe(1);
});

test('[CR4] with any standings: a live one is never refused, unless an earlier one cannot be checked', async () => {
  const standing = fc.constantFrom<CredentialStatus>(
    'forged',
    'invalid',
    'stale',
    'ended',
    'unavailable',
    'live',
  );
  await fc.assert(
    fc.asyncProperty(fc.array(standing, { maxLength: 4 }), async (standings) => {
      const decisive = standings.findIndex((one) => one === 'live' || one === 'unavailable');
      const { won } = await decide(standings);
      if (decisive >= 0) expect(won).toBe(decisive);
      else if (standings.length > 0)
        expect(['forged', 'invalid', 'stale', 'ended']).toContain(standings[won!]);
    }),
  );
});

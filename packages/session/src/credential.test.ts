import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type CredentialStatus, firstLiveSession, readCredential } from './credential.ts';

const NAME = 'session_id';
const A = '0b2ff0f1-5dbd-4b42-9c04-9b0c0a3d6f10.aaaa.sig';
const B = '7c1f2a53-1dd0-4a11-8f0e-6f3a0f1b2c3d.bbbb.sig';

const read = (cookie: string | undefined, authorization: string | undefined) =>
  readCredential({ cookie, authorization }, NAME);

test('[CR1] given a bearer token, a cookie or neither, when the headers are read, then the credential is that', () => {
  expect(read(undefined, undefined)).toEqual({ via: 'none', tokens: [] });
  expect(read(undefined, 'Basic abc')).toEqual({ via: 'none', tokens: [] });
  expect(read(undefined, `bearer   ${A} `)).toEqual({ via: 'bearer', tokens: [A] });
  expect(read(undefined, 'Bearer')).toEqual({ via: 'bearer', tokens: [''] });
  expect(read(undefined, 'Bearer a b')).toEqual({ via: 'bearer', tokens: [''] });
  expect(read(`${NAME}=s:${A}`, undefined)).toEqual({ via: 'cookie', tokens: [A] });
  expect(read(`${NAME}=s:${A}`, 'Basic abc')).toEqual({ via: 'cookie', tokens: [A] });
});

test('[CR2] given two sessions in one request, when the headers are read, then the credential is ambiguous; one session twice is not', () => {
  expect(read(`${NAME}=s:${A}`, `Bearer ${B}`)).toEqual({ via: 'ambiguous', tokens: [] });
  expect(read(`${NAME}=s:${A}`, `Bearer ${A}`)).toEqual({ via: 'bearer', tokens: [A] });
  expect(read(`${NAME}=garbage`, `Bearer ${A}`)).toEqual({ via: 'ambiguous', tokens: [] });
});

test('[CR3] given the longest header of the worst shape, when it is read, then the time is linear', () => {
  const spaces = ' '.repeat(14_500);
  const hostile = [
    `Bearer${spaces}x y`,
    `Bearer ${'x'.repeat(14_000)} y`,
    `Bearer${spaces}`,
    `bearer${'\t'.repeat(14_000)}x`,
  ];
  const begun = performance.now();
  for (let n = 0; n < 50; n += 1) {
    for (const header of hostile) expect(read(undefined, header)).toEqual({ via: 'bearer', tokens: [''] });
  }
  // One of these headers alone took 280 ms of CPU when the pattern was quadratic; all 200 take a few milliseconds.
  expect(performance.now() - begun).toBeLessThan(2_000);
  expect(read(undefined, `Bearer${spaces}${A}${spaces.slice(0, 1_000)}`)).toEqual({
    via: 'bearer',
    tokens: [A],
  });
});

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

test('[CR4] given several credentials, when they are checked, then the first live one wins, else the most informative rejection', async () => {
  expect(await decide([])).toEqual({ won: undefined, asked: 0 });
  expect((await decide(['ended', 'live', 'live'])).won).toBe(1);
  expect((await decide(['invalid', 'stale', 'ended', 'ended'])).won).toBe(2);
  expect((await decide(['ended', 'invalid'])).won).toBe(0);
  expect(await decide(['invalid', 'unavailable', 'live'])).toEqual({ won: 1, asked: 2 });
});

test('[CR4] given many credentials, when they are checked, then four are looked up, not counting forged credentials', async () => {
  const forged = Array<CredentialStatus>(60).fill('forged');
  expect((await decide([...forged, 'ended', 'ended', 'stale', 'live'])).won).toBe(63);
  expect(await decide(['ended', 'forged', 'ended', 'stale', 'invalid', 'live'])).toEqual({
    won: 0,
    asked: 5,
  });
  expect((await decide(['forged', 'invalid'])).won).toBe(1);
});

test('[CR4] given any statuses, when they are checked, then a live credential wins unless an earlier check failed', async () => {
  const standing = fc.constantFrom<CredentialStatus>('forged', 'invalid', 'stale', 'ended', 'unavailable', 'live');
  await fc.assert(
    fc.asyncProperty(fc.array(standing, { maxLength: 4 }), async (standings) => {
      const decisive = standings.findIndex((one) => one === 'live' || one === 'unavailable');
      const { won } = await decide(standings);
      if (decisive >= 0) expect(won).toBe(decisive);
      else if (standings.length > 0) expect(['forged', 'invalid', 'stale', 'ended']).toContain(standings[won!]);
    }),
  );
});

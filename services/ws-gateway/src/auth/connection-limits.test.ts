import type { SessionId } from '@muster/session/token';
import { expect, test } from 'vitest';
import type { SessionHolder } from '../core/ports.ts';
import { withConnectionLimits } from './connection-limits.ts';

const holder = (): SessionHolder => ({
  endSession: () => {},
  renewSession: () => {},
  reviseSession: () => {},
});

/** Tokens are `user/session`. */
const limitsUnderTest = (options: { maxPerUser: number; maxPerSession: number }) => {
  const held: string[] = [];
  const refused: string[] = [];
  const limits = withConnectionLimits({
    ...options,
    onRefused: (scope) => refused.push(scope),
    authenticator: {
      hasValidSignature: () => true,
      refresh: async () => ({ ok: false, why: 'none' }),
      transfer: () => {},
      release: (id) => void held.splice(held.indexOf(id ?? ''), 1),
      authenticate: async ({ tokens }) => {
        const [user = '', session = ''] = (tokens[0] ?? '').split('/');
        held.push(session);
        return {
          ok: true,
          identity: { tenant: 'default', user, sessionId: session as SessionId, expiresAt: 0 },
        };
      },
    },
  });
  const come = async (token: string, who = holder()) => {
    const result = await limits.authenticate({ tokens: [token], origin: undefined }, who);
    return result.ok ? 'in' : result.why;
  };
  return { limits, come, refused, held };
};

test('[LM1] given a user at its limit, when it connects with any session, then it is rejected, and other users are accepted', async () => {
  const { come, refused, held } = limitsUnderTest({ maxPerUser: 2, maxPerSession: 0 });
  expect([await come('ann/1'), await come('ann/2'), await come('ann/3')]).toEqual(['in', 'in', 'limit_reached']);
  expect(await come('bob/4')).toBe('in');
  expect(refused).toEqual(['user']);
  expect(held).toEqual(['1', '2', '4']);
});

test('[LM15] given a limit per user, when anonymous clients connect, then they are not counted as one user', async () => {
  const { come } = limitsUnderTest({ maxPerUser: 1, maxPerSession: 0 });
  expect([await come('/1'), await come('/2')]).toEqual(['in', 'in']);
});

test('[LM12] given a session at its limit, when it connects, then it is rejected', async () => {
  const { come, refused } = limitsUnderTest({ maxPerUser: 0, maxPerSession: 1 });
  expect([await come('ann/1'), await come('ann/1'), await come('ann/2')]).toEqual(['in', 'limit_reached', 'in']);
  expect(refused).toEqual(['session']);
});

test('[LM14] given a user at its limit, when a connection is transferred and released, then exactly one connection is accepted', async () => {
  const { limits, come } = limitsUnderTest({ maxPerUser: 1, maxPerSession: 1 });
  const [upgrade, connection] = [holder(), holder()];
  expect(await come('ann/1', upgrade)).toBe('in');
  limits.transfer('1' as SessionId, upgrade, connection);
  limits.release('1' as SessionId, upgrade);
  expect(await come('ann/1')).toBe('limit_reached');
  limits.release('1' as SessionId, connection);
  limits.release('1' as SessionId, connection);
  expect(await come('ann/1')).toBe('in');
  expect(await come('ann/1')).toBe('limit_reached');
});

test('[LM11] given a user or session at its limit, when it connects, then the counted connections are pinged and no others', async () => {
  const { limits, come } = limitsUnderTest({ maxPerUser: 3, maxPerSession: 2 });
  const probed: string[] = [];
  const probeable = (name: string): SessionHolder => ({ ...holder(), probe: () => void probed.push(name) });
  const upgrade = probeable('upgrade');
  await come('ann/1', probeable('a'));
  await come('ann/1', upgrade);
  limits.transfer('1' as SessionId, upgrade, probeable('b'));
  await come('ann/2', probeable('c'));
  await come('bob/3', probeable('d'));
  expect(probed).toEqual([]);
  expect(await come('ann/2')).toBe('limit_reached');
  expect(probed.splice(0).sort()).toEqual(['a', 'b', 'c']);
  const { come: comeAgain } = limitsUnderTest({ maxPerUser: 0, maxPerSession: 1 });
  await comeAgain('eve/1', probeable('e'));
  await comeAgain('eve/2', probeable('f'));
  expect(await comeAgain('eve/2')).toBe('limit_reached');
  expect(probed).toEqual(['f']);
});

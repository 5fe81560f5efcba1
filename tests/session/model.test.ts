import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let service: TestService;
let redis: Redis;

beforeAll(async () => {
  service = await startService(stores, { SESSION_LIMIT_PER_MINUTE: '0' });
  redis = new Redis(stores.redisUrl);
});
afterAll(async () => {
  redis.disconnect();
  await service[Symbol.asyncDispose]();
});

/** Minimal model of a session. */
interface Model {
  readonly id: string;
  readonly user: string;
  token: string;
  label: string | null;
  counter: number | undefined;
  end: string | undefined;
}

const RUNS = 15;
const users = ['m_0', 'm_1', 'm_2'];

/** One step: changes the real service and the model alike, and compares their results. */
type Step =
  | { do: 'open'; user: number }
  | { do: 'check' | 'rotate' | 'end' | 'expire' | 'forget' | 'list'; at: number }
  | { do: 'label'; at: number; label: string | null }
  | { do: 'data'; at: number; value: number }
  | { do: 'endOthers' | 'endAll'; at: number };

const at = fc.nat(30);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('open' as const), user: fc.nat(2) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'check' as const,
        'rotate' as const,
        'end' as const,
        'expire' as const,
        'forget' as const,
        'list' as const,
      ),
      at,
    }),
  },
  fc.record({
    do: fc.constant('label' as const),
    at,
    label: fc.option(fc.constantFrom('a', 'b'), { nil: null }),
  }),
  fc.record({ do: fc.constant('data' as const), at, value: fc.nat(100) }),
  fc.record({ do: fc.constantFrom('endOthers' as const, 'endAll' as const), at }),
);

const world = (prefix: string) => {
  const all: Model[] = [];
  const live = (user: string) => all.filter((one) => one.user === user && one.end === undefined);

  const compare = async (one: Model) => {
    const { status, body } = await service.bearer(one.token, 'GET', '/v1/session');
    if (one.end !== undefined) {
      expect(body).toMatchObject({ type: '/problems/session-ended', end_reason: one.end });
      return;
    }
    expect(status).toBe(200);
    expect(body).toMatchObject({ id: one.id, user_id: one.user, label: one.label });
    expect(body.data.counter).toBe(one.counter);
  };
  const open = async (user: string) => {
    const { body } = await service.service('POST', '/v1/sessions', { user_id: user });
    all.push({ id: body.id, user, token: body.token, label: null, counter: undefined, end: undefined });
  };
  const change = async (one: Model, what: Exclude<Step, { do: 'open' }>) => {
    const call = (method: string, path: string, json?: object, headers: Record<string, string> = {}) =>
      service.bearer(one.token, method, path, json, headers);
    switch (what.do) {
      case 'check':
        return;
      case 'rotate':
        one.token = (await call('POST', '/v1/session/rotate')).body.token;
        return;
      case 'end':
        expect((await call('DELETE', '/v1/session')).status).toBe(204);
        one.end = 'logout';
        return;
      case 'expire':
        await withClient(stores.databaseUrl, (client) =>
          client.query(
            `UPDATE sessions SET created_at = now() - interval '2 days', expires_at = now() - interval '1 second', rev = rev + 1 WHERE id = $1`,
            [one.id],
          ),
        );
        await redis.del(`${stores.redisPrefix}s:{${one.id}}`);
        one.end = 'expired';
        return;
      case 'forget':
        await redis.del(`${stores.redisPrefix}s:{${one.id}}`);
        return;
      case 'label':
        one.label = what.label;
        expect((await call('PATCH', '/v1/session', { label: what.label })).status).toBe(200);
        return;
      case 'data':
        one.counter = what.value;
        expect(
          (await call('PATCH', '/v1/session', { data: { counter: what.value } }, { 'if-match': '*' })).status,
        ).toBe(200);
        return;
      case 'list': {
        const { body } = await call('GET', '/v1/me/sessions?limit=100');
        const ids = body.items.map(({ id }: { id: string }) => id).toSorted();
        expect(ids).toEqual(
          live(one.user)
            .map(({ id }) => id)
            .toSorted(),
        );
        return;
      }
      case 'endOthers':
      case 'endAll': {
        const victims = live(one.user).filter((other) => what.do === 'endAll' || other !== one);
        const query = what.do === 'endAll' ? '?all=true' : '?except=current';
        expect((await call('DELETE', `/v1/me/sessions${query}`)).body.ended).toBe(victims.length);
        for (const victim of victims) victim.end = what.do === 'endAll' ? 'revoked_all' : 'revoked_others';
        return;
      }
      default:
        return what satisfies never;
    }
  };
  const run = async (one: Step) => {
    if (one.do === 'open') return open(`${prefix}${users[one.user]}`);
    const target = all[one.at % Math.max(1, all.length)];
    if (target === undefined) return;
    // An ended session only reports its end; the sweeper may have ended it first.
    if (target.end === undefined) await change(target, one);
    await compare(target);
  };
  return { run, compareAll: () => Promise.all(all.map(compare)) };
};

let prefixes = 0;

test('[SE50] given any sequence of steps, the results equal the model', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      prefixes += 1;
      const { run, compareAll } = world(`${prefixes}:`);
      for (const one of steps) await run(one);
      await compareAll();
    }),
    { numRuns: RUNS, endOnFailure: true },
  );
});

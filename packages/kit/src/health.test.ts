import { expect, test } from 'vitest';
import { createHealth } from './health.ts';
import { createMetrics } from './metrics.ts';
import { answerProbe } from './probe-responses.ts';

const QUIET = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => QUIET };

const setUp = ({ isStrict = false, intervalMs = 1_000_000 } = {}) => {
  let at = 1_000_000;
  const world = {
    works: true,
    helps: true,
    fault: 'WRONGPASS invalid username-password pair or user is disabled.',
    checks: 0,
    pass: (ms: number) => {
      at += ms;
    },
    clock: { now: () => at, monotonic: () => at },
  };
  const metrics = createMetrics({ service: 's', version: '1' });
  const health = createHealth({
    clock: world.clock,
    log: QUIET,
    metrics,
    intervalMs,
    isStrict,
    checks: {
      redis: async () => {
        world.checks += 1;
        if (!world.works) throw new Error('connect ECONNREFUSED 10.1.2.3:6379');
      },
    },
    optionalChecks: {
      session_service: async () => {
        if (!world.helps) throw new Error(world.fault);
      },
    },
  });
  const about = { service: 's', version: '1', instance: 'one', startedAt: at };
  const probe = (path: string) => answerProbe(health, about, path, at);
  return { world, health, probe, metrics };
};

test('[LB12] a probe for another service is answered 404, so that a reused address is not taken for it', async () => {
  const { health } = setUp();
  await health.checkNow();
  const about = { service: 'ws-gateway', version: '1', instance: 'one', startedAt: 0 };
  const statuses = [undefined, 'ws-gateway', 'session-service', ['ws-gateway', 'x']].map(
    (asked) => answerProbe(health, about, '/readyz', 0, asked)?.status,
  );
  expect(statuses).toEqual([200, 200, 404, 404]);
});

test('[HL1] [HL16] given a starting process, when every dependency was up once, then it is started and stays so', async () => {
  const { world, health, probe } = setUp();
  world.works = false;
  await health.checkNow();
  expect(health.state()).toBe('starting');
  expect([probe('/startupz')?.status, probe('/readyz')?.status, probe('/livez')?.status]).toEqual([503, 503, 200]);
  world.works = true;
  await health.checkNow();
  world.works = false;
  await health.checkNow();
  expect(probe('/startupz')?.status).toBe(200);
});

test('[HL15] given a dependency that stays down, when the grace has passed, then the process is started', async () => {
  const { world, health } = setUp();
  world.works = false;
  world.pass(30_001);
  await health.checkNow();
  expect(health.state()).toBe('degraded');
});

test('[HL2] [HL17] [HL22] given a started process, when a dependency is down, then it is degraded and ready', async () => {
  const { world, health, probe } = setUp();
  await health.checkNow();
  expect(health.state()).toBe('ready');
  world.works = false;
  await health.checkNow();
  expect(health.state()).toBe('degraded');
  expect([probe('/readyz')?.status, probe('/health')?.status]).toEqual([200, 200]);
});

test('[HL8] [HL24] given the strict policy, when a dependency is down, then the process is not ready and unhealthy', async () => {
  const { world, health, probe } = setUp({ isStrict: true });
  await health.checkNow();
  expect([probe('/readyz')?.status, probe('/health')?.status]).toEqual([200, 200]);
  world.works = false;
  await health.checkNow();
  expect([probe('/readyz')?.status, probe('/health')?.status, probe('/livez')?.status]).toEqual([503, 503, 200]);
});

test('[HL3] [HL18] given a result older than 10 s, when health is read, then it is unknown and not up', async () => {
  const { world, health } = setUp();
  await health.checkNow();
  world.pass(10_001);
  expect(health.dependency('redis').status).toBe('unknown');
  expect(health.state()).toBe('degraded');
});

test('[HL4] [HL19] given a check without an answer, when another is due, then it is not started, and the first times out', async () => {
  const metrics = createMetrics({ service: 's', version: '1' });
  let begun = 0;
  const health = createHealth({
    clock: { now: () => Date.now(), monotonic: () => performance.now() },
    log: QUIET,
    metrics,
    checks: {
      silent: () => {
        begun += 1;
        return new Promise(() => {});
      },
    },
  });
  await Promise.all([health.checkNow(), health.checkNow()]);
  expect(begun).toBe(1);
  expect(health.dependency('silent')).toMatchObject({ status: 'down', reason: 'timeout' });
  await health[Symbol.asyncDispose]();
});

test('[HL5] [HL20] [HL21] given a draining process, then it is not ready, is alive, and stays draining', async () => {
  const { health, probe } = setUp();
  await health.checkNow();
  health.startDraining();
  await health.checkNow();
  expect(health.state()).toBe('draining');
  expect([probe('/readyz')?.status, probe('/livez')?.status]).toEqual([503, 200]);
  expect(probe('/readyz')?.headers).toHaveProperty('retry-after');
});

test('[HL6] when health is read, then no check runs', async () => {
  const { world, health, probe } = setUp();
  await health.checkNow();
  for (let count = 0; count < 100; count += 1) probe('/health');
  expect(world.checks).toBe(1);
});

test('[HL7] [HL23] when /health is requested, then it reports dependencies without host names', async () => {
  const { world, health, probe } = setUp();
  await health.checkNow();
  world.works = false;
  await health.checkNow();
  const body = probe('/health')?.body ?? '';
  expect(body).not.toContain('10.1.2.3');
  expect(JSON.parse(body)).toMatchObject({
    status: 'degraded',
    instance: 'one',
    checks: { redis: { status: 'down', reason: 'refused', age_ms: 0, latency_ms: expect.any(Number) } },
  });
});

test('the last check is a metric', async () => {
  const { world, health, metrics } = setUp();
  world.works = false;
  await health.checkNow();
  const text = await metrics.render();
  expect(text).toContain('service_dependency_up{dependency="redis"} 0');
  expect(text).toContain('service_dependency_failures_total{dependency="redis",reason="refused"} 1');
});

test.each([false, true])(
  '[HL12] [HL27] given an optional dependency is down from the start, then the process is started, ready and degraded, with the reason (strict: %s)',
  async (isStrict) => {
    const { world, health, probe } = setUp({ isStrict });
    world.helps = false;
    await health.checkNow();
    expect([probe('/startupz')?.status, probe('/readyz')?.status, health.state()]).toEqual([200, 200, 'degraded']);
    expect(JSON.parse(probe('/health')?.body ?? '')).toMatchObject({
      status: 'degraded',
      checks: { redis: { status: 'up' }, session_service: { status: 'down', reason: 'auth' } },
    });
    expect(health.required).toEqual(['redis']);
  },
);

test('[HL13] given a dependency that was up and down, then /health reports the time since the first check with that status', async () => {
  const { world, health, probe } = setUp();
  await health.checkNow();
  world.pass(3_000);
  world.works = false;
  await health.checkNow('redis');
  world.pass(2_000);
  await health.checkNow('redis');
  world.pass(500);
  expect(health.dependency('redis').forMs).toBe(2_500);
  world.works = true;
  await health.checkNow('redis');
  world.pass(100);
  expect(health.dependency('redis')).toMatchObject({ status: 'up', forMs: 100 });
  expect(JSON.parse(probe('/health')?.body ?? '').checks.redis.for_ms).toBe(100);
});

test('[HL14] given an optional dependency that was never reached, then it is unknown for 30 s and down afterwards', async () => {
  const { world, health } = setUp();
  Object.assign(world, { helps: false, fault: 'connect ECONNREFUSED 10.1.2.3:9100' });
  await health.checkNow();
  expect([health.state(), health.dependency('session_service').status]).toEqual(['ready', 'unknown']);
  world.pass(31_000);
  await health.checkNow();
  expect([health.state(), health.dependency('session_service').status]).toEqual(['degraded', 'down']);
  world.helps = true;
  await health.checkNow();
  expect(health.state()).toBe('ready');
});

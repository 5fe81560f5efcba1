import { describe, expect, test } from 'vitest';
import { FLEET_EPOCH, setUpFleet, setUpRunningFleet } from './fleet-fixture.ts';

describe('the fleet', () => {
  test('[FL1] given all expected instances are up, their services are operational', () => {
    const { fleet } = setUpRunningFleet();
    expect(fleet.snapshot().services.map(({ status }) => status)).toEqual(['operational', 'operational']);
  });

  test('[FL2] given evidence older than the limit, everything is unknown', () => {
    const { play, registry, stopProbing, fleet } = setUpRunningFleet();
    registry.readable = false;
    stopProbing();
    play(14_000);
    expect(fleet.snapshot().ageMs).toBeGreaterThan(13_000);
    play(3_000);
    const view = fleet.snapshot();
    expect(view.status).toBe('unknown');
    expect(view.services.every(({ status }) => status === 'unknown')).toBe(true);
  });

  test('[FL3] given an aggregator that has just started, the status is unknown', () => {
    const { fleet } = setUpFleet();
    expect(fleet.snapshot().status).toBe('unknown');
  });

  test('[FL4] given a required service without any instance, it is in major outage once the registry was readable long enough', () => {
    const { start, play, statusOf, fleet } = setUpFleet();
    start('session', 's1');
    play(8_000);
    expect(statusOf('gateway')).toBe('unknown');
    play(10_000);
    expect(statusOf('gateway')).toBe('major_outage');
    expect(fleet.snapshot().status).toBe('major_outage');
  });

  test('[FL5] [FL9] when the state changes, the version increases; with ages it does not', () => {
    const { fleet, play, kill, ids } = setUpRunningFleet();
    play(20_000);
    const before = fleet.snapshot().version;
    play(20_000);
    expect(fleet.snapshot().version).toBe(before);
    kill(ids.g1);
    play(3_000);
    expect(fleet.snapshot().version).toBeGreaterThan(before);
  });

  test('[FL6] when one of two instances is killed, its service and the fleet are in partial outage, the other service is not', () => {
    const { kill, play, ids, statusOf, fleet } = setUpRunningFleet();
    kill(ids.g1);
    play(5_000);
    expect(statusOf('gateway')).toBe('partial_outage');
    expect(statusOf('session')).toBe('operational');
    expect(fleet.snapshot().status).toBe('partial_outage');
  });

  test('[FL7] [FL8] given reports on stores, the database is assessed from those of session services, Redis from all', () => {
    const fixture = setUpFleet({ expected: {} });
    const up = {
      postgres: { status: 'up', latencyMs: 1.5 },
      redis: { status: 'up', latencyMs: 0.3 },
    } as const;
    fixture.start('session-service', 's1', { dependencies: up });
    fixture.start('ws-gateway', 'g1', {
      dependencies: { postgres: { status: 'down' }, redis: { status: 'down' } },
    });
    fixture.play(3_000);
    const { database, redis } = fixture.fleet.snapshot().dependencies;
    expect(database).toMatchObject({ status: 'up', latencyMs: 1.5, reporters: 1 });
    expect(redis).toMatchObject({ status: 'degraded', reporters: 2, failing: 1 });
  });

  test('[JO2] [JO10] when three synthetic checks in a row fail, it is a major outage only while the stores are up', () => {
    const fixture = setUpFleet({ expected: { gateway: 1 } });
    const up = { postgres: { status: 'up' }, redis: { status: 'up' } } as const;
    fixture.start('gateway', 'g1', { dependencies: { redis: { status: 'up' } } });
    const s1 = fixture.start('session-service', 's1', { dependencies: up });
    fixture.play(4_000);
    expect(fixture.fleet.snapshot().status).toBe('operational');
    for (let round = 0; round < 3; round += 1) fixture.fleet.recordSyntheticCheck({ ok: false, step: 'receive' });
    expect(fixture.fleet.snapshot()).toMatchObject({
      status: 'major_outage',
      journey: { status: 'failing', step: 'receive' },
    });
    fixture.report(s1, { dependencies: { ...up, postgres: { status: 'down' } } });
    fixture.play(3_000);
    expect(fixture.fleet.snapshot().status).toBe('partial_outage');
    fixture.report(s1, { dependencies: up });
    fixture.fleet.recordSyntheticCheck({ ok: true, durationMs: 12 });
    fixture.play(20_000);
    expect(fixture.fleet.snapshot()).toMatchObject({
      status: 'operational',
      journey: { status: 'ok', durationMs: 12 },
    });
    fixture.play(60_000);
    expect(fixture.fleet.snapshot().journey).toBeUndefined();
  });
});

describe('causes of the present state', () => {
  const reportsDown = (forMs: number) => ({
    dependencies: { redis: { status: 'down' as const, reason: 'refused', forMs } },
  });

  test('[FH25] given a first failed check that is older than the report, then `since` is its time and stays', () => {
    const fixture = setUpRunningFleet();
    expect(fixture.now()).toBe(8_000);
    const sinceAfter = (forMs: number) => {
      for (const id of Object.values(fixture.ids)) fixture.report(id, reportsDown(forMs));
      // Heartbeats are written and read every two seconds here.
      fixture.play(2_000);
      const [redis] = fixture.fleet.snapshot().impact;
      expect(redis).toMatchObject({ subject: 'redis', reasons: ['refused'] });
      return Date.parse(redis?.since ?? '') - FLEET_EPOCH;
    };
    expect(sinceAfter(3_000)).toBe(7_000);
    expect(sinceAfter(5_000)).toBe(7_000);
    // Another instance noticed it earlier.
    expect(sinceAfter(9_000)).toBe(5_000);
  });

  test('[JO5] given a synthetic check that succeeded before a store failed, while the store is down its result is not shown', () => {
    const fixture = setUpRunningFleet();
    fixture.fleet.recordSyntheticCheck({ ok: true, durationMs: 12 });
    expect(fixture.fleet.snapshot().journey?.status).toBe('ok');
    fixture.play(2_000);
    for (const id of Object.values(fixture.ids)) fixture.report(id, reportsDown(0));
    fixture.play(3_000);
    expect(fixture.fleet.snapshot().dependencies['redis']?.status).toBe('down');
    expect(fixture.fleet.snapshot().journey).toBeUndefined();
    fixture.fleet.recordSyntheticCheck({ ok: false, step: 'publish' });
    expect(fixture.fleet.snapshot().journey).toMatchObject({ status: 'failed', step: 'publish' });
  });

  test('[FH10] [FH28] given gateways that cannot reach the session service, the fleet is degraded and the impact states what fails', () => {
    const fixture = setUpFleet({ expected: { 'ws-gateway': 1, 'session-service': 1 } });
    const gateway = fixture.start('ws-gateway', 'gateway-1');
    const service = fixture.start('session-service', 'session-1');
    fixture.play(8_000);
    const down = { session_service: { status: 'down' as const, reason: 'auth' } };
    fixture.report(gateway, { state: 'degraded', dependencies: down });
    fixture.play(3_000);
    expect(fixture.fleet.snapshot().status).toBe('degraded');
    expect(fixture.fleet.snapshot().impact).toMatchObject([
      { subject: 'ws-gateway', reasons: ['gateway-1 dependency_session_service'] },
    ]);
    // An outage of the session service itself is the plainer cause.
    fixture.kill(service);
    fixture.play(10_000);
    expect(fixture.fleet.snapshot().impact.map(({ subject }) => subject)).toContain('session-service');
  });
});

import { describe, expect, test } from 'vitest';
import { setUpFleet, setUpRunningFleet } from './fleet-fixture.ts';

describe('states of an instance', () => {
  test('[IS1] given an instance that reports ready and answers, it is up within 3 s', () => {
    const fixture = setUpFleet();
    fixture.start('gateway', 'g1');
    fixture.play(3_000);
    expect(fixture.stateOf('g1')).toBe('up');
  });

  test('[IS2] [IS19] when an instance is killed, it is suspect at the first failed probe and down within 3.5 s', () => {
    const { kill, play, stateOf, ids, transitions, now } = setUpRunningFleet();
    const killedAt = now();
    kill(ids.g1);
    play(5_000);
    expect(stateOf('g1')).toBe('down');
    const down = transitions.find(({ to, name }) => to === 'down' && name === 'g1');
    const path = transitions.filter(({ name, at }) => name === 'g1' && at > killedAt).map(({ to }) => to);
    expect(path).toEqual(['suspect', 'down']);
    expect(down?.why).toBe('refused');
    expect((down?.at ?? 0) - killedAt).toBeLessThanOrEqual(3_500);
    expect(stateOf('g2')).toBe('up');
  });

  test('[IS3] [IS20] when an instance hangs, it is down within 7 s, and not after a single timeout', () => {
    const { change, play, ids, transitions, now } = setUpRunningFleet();
    const hungAt = now();
    change(ids.g1, { answers: 'timeout', heartbeats: false });
    play(10_000);
    const path = transitions.filter(({ name, at }) => name === 'g1' && at > hungAt).map(({ to }) => to);
    expect(path).toEqual(['suspect', 'down']);
    expect((transitions.find(({ to }) => to === 'down')?.at ?? 0) - hungAt).toBeLessThanOrEqual(7_000);
  });

  test('[IS4] given a suspect after one failed probe, when the next succeeds, it is up', () => {
    const { change, play, ids, stateOf } = setUpRunningFleet();
    change(ids.g1, { answers: 'timeout' });
    while (stateOf('g1') !== 'suspect') play(100);
    change(ids.g1, { answers: 'ok' });
    play(700);
    expect(stateOf('g1')).toBe('up');
  });

  test('[IS5] [IS21] [IS22] given a draining instance, when it leaves, it is gone and no longer expected', () => {
    const { report, leave, play, ids, stateOf, statusOf, transitions } = setUpRunningFleet();
    report(ids.g1, { state: 'draining' });
    play(3_000);
    expect(stateOf('g1')).toBe('draining');
    leave(ids.g1);
    play(9_000);
    expect(stateOf('g1')).toBeUndefined();
    expect(statusOf('gateway')).toBe('operational');
    expect(transitions.some(({ to }) => to === 'down')).toBe(false);
  });

  test('[IS18] given a draining instance with unready probes, when it resumes, it is up at once', () => {
    const { report, change, play, ids, stateOf, transitions } = setUpRunningFleet();
    report(ids.g1, { state: 'draining' });
    change(ids.g1, { answers: 'unready' });
    play(20_000);
    expect(stateOf('g1')).toBe('draining');
    report(ids.g1, { state: 'ready' });
    play(2_000);
    change(ids.g1, { answers: 'ok' });
    play(3_000);
    expect(stateOf('g1')).toBe('up');
    expect(transitions.some(({ to }) => to === 'down')).toBe(false);
  });

  test('[IS15] given an instance that left the registry, when it no longer answers, it is gone, not down', () => {
    const { leave, play, ids, stateOf, transitions } = setUpRunningFleet();
    leave(ids.g1);
    play(4_000);
    expect(stateOf('g1')).toBeUndefined();
    expect(transitions.at(-1)).toMatchObject({ name: 'g1', to: 'gone', why: 'left' });
    expect(transitions.some(({ to }) => to === 'down')).toBe(false);
  });

  test('[IS6] when a new incarnation has the address or name of another, it replaces it at once', () => {
    const { start, kill, play, ids, fleet, stateOf } = setUpRunningFleet();
    kill(ids.g1);
    play(3_500);
    const next = start('gateway', 'g1');
    play(2_500);
    const gateways = fleet.snapshot().services.find(({ service }) => service === 'gateway');
    expect(gateways?.instances.map(({ id }) => id).sort()).toEqual([ids.g2, next].sort());
    expect(stateOf('g1')).toBe('up');
  });

  test('[IS7] given a heartbeat of an older incarnation, it is ignored', () => {
    const { start, kill, change, play, ids, fleet } = setUpRunningFleet();
    kill(ids.g1);
    const next = start('gateway', 'g1');
    play(3_000);
    change(ids.g1, { heartbeats: true });
    play(5_000);
    const gateways = fleet.snapshot().services.find(({ service }) => service === 'gateway');
    expect(gateways?.instances.map(({ id }) => id)).toContain(next);
    expect(gateways?.instances.map(({ id }) => id)).not.toContain(ids.g1);
  });

  test.each([
    ['a dependency it cannot reach', { dependencies: { redis: { status: 'down' } } }, 'dependency_redis'],
    ['a slow event loop in three heartbeats', { load: { loopP99Ms: 300 } }, 'loop_slow'],
    ['more than 90 % of its connections', { load: { connections: 91, connectionsLimit: 100 } }, 'near_limit'],
    ['an event loop above 95 % for 20 s', { load: { loopUtilisation: 0.96 } }, 'loop_busy'],
    ['its own report', { state: 'degraded' }, 'says_degraded'],
    ['three slow answers', {}, 'slow_answers'],
  ] as const)('[IS8] given %s, an instance is degraded, not down', (_, over, why) => {
    const { report, change, play, ids, fleet, stateOf } = setUpRunningFleet();
    report(ids.g1, over);
    if (why === 'slow_answers') change(ids.g1, { durationMs: 501 });
    play(why === 'loop_busy' ? 24_000 : 9_000);
    expect(stateOf('g1')).toBe('degraded');
    const instances = fleet.snapshot().services.flatMap(({ instances }) => instances);
    expect(instances.find(({ name }) => name === 'g1')?.why).toBe(why);
  });

  test('[IS9] given a degraded instance, it is up after 15 s without a cause', () => {
    const { report, play, ids, stateOf } = setUpRunningFleet();
    report(ids.g1, { dependencies: { redis: { status: 'down' } } });
    play(4_000);
    report(ids.g1, { dependencies: { redis: { status: 'up' } } });
    play(12_000);
    expect(stateOf('g1')).toBe('degraded');
    play(6_000);
    expect(stateOf('g1')).toBe('up');
  });

  test('[IS10] given an instance that was down, it is up after two successful probes 3 s apart', () => {
    const { kill, change, play, ids, stateOf } = setUpRunningFleet();
    kill(ids.g1);
    play(4_000);
    change(ids.g1, { answers: 'ok', heartbeats: true });
    play(4_000);
    expect(stateOf('g1')).toBe('down');
    play(8_000);
    expect(stateOf('g1')).toBe('up');
  });

  test('[IS11] given an instance that stays down, it is listed for 10 minutes, then gone', () => {
    const { kill, play, ids, stateOf } = setUpRunningFleet();
    kill(ids.g1);
    play(590_000);
    expect(stateOf('g1')).toBe('down');
    play(20_000);
    expect(stateOf('g1')).toBeUndefined();
  });

  test('[IS12] [IS23] when the registry cannot be read, membership is frozen and no instance is suspect for a late heartbeat', () => {
    const { registry, play, stateOf, fleet, transitions, now } = setUpRunningFleet();
    const since = now();
    registry.readable = false;
    play(60_000);
    expect(stateOf('g1')).toBe('up');
    expect(fleet.snapshot().frozen).toBe(true);
    registry.readable = true;
    play(10_000);
    expect(transitions.filter(({ at }) => at > since)).toEqual([]);
    expect(fleet.snapshot().frozen).toBe(false);
  });

  test('[IS13] when heartbeats disappear while the instances answer, membership is frozen', () => {
    const { registry, play, fleet, transitions, now } = setUpRunningFleet();
    const since = now();
    registry.empty = true;
    play(30_000);
    expect(fleet.snapshot().frozen).toBe(true);
    expect(transitions.filter(({ at, to }) => at > since && to === 'down')).toEqual([]);
  });

  test('[IS14] when most of a service fails at once on soft evidence, further instances are not down for 20 s', () => {
    const fixture = setUpFleet({ expected: { gateway: 1 } });
    const ids = ['g1', 'g2', 'g3'].map((name) => fixture.start('gateway', name));
    fixture.play(8_000);
    const since = fixture.now();
    for (const id of ids.slice(0, 2)) fixture.change(id, { answers: 'timeout', heartbeats: false });
    fixture.play(20_000);
    expect(fixture.transitions.filter(({ at, to }) => at > since && to === 'down').length).toBeLessThanOrEqual(1);
    fixture.play(10_000);
    expect(fixture.stateOf('g1')).toBe('down');
    expect(fixture.stateOf('g2')).toBe('down');
  });
});

test('[IS24] [IS25] given a flapping instance, it is degraded while it is up, in every incarnation', () => {
  const { start, kill, play, ids, fleet, statusOf } = setUpRunningFleet();
  let id = ids.g1;
  for (let incarnation = 0; incarnation < 4; incarnation += 1) {
    kill(id);
    play(4_000);
    id = start('gateway', 'g1');
    play(4_000);
  }
  play(4_000);
  const g1 = fleet
    .snapshot()
    .services.flatMap(({ instances }) => instances)
    .find(({ name }) => name === 'g1');
  expect(g1).toMatchObject({ state: 'degraded', why: 'flapping', flapping: true });
  expect(statusOf('gateway')).toBe('degraded');
  play(16 * 60_000);
  expect(statusOf('gateway')).toBe('operational');
});

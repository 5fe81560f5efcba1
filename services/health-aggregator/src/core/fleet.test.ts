import { describe, expect, test } from 'vitest';
import { createFleetState, type FleetState } from './fleet.ts';
import type { ObservedHeartbeat, ProbeOutcome, Transition } from './ports.ts';

const EPOCH = Date.UTC(2026, 0, 1);

/** A fleet with a fake clock, a fake registry and processes that can be killed. */
const setUp = ({
  expected = { gateway: 1, session: 1 } as Record<string, number>,
  staleAfterMs = 15_000,
} = {}) => {
  let at = 0;
  const clock = { now: () => EPOCH + at, monotonic: () => 1_000 + at };
  const fleet: FleetState = createFleetState({
    clock,
    name: 'test',
    observer: { name: 'observer', version: '1', startedAt: EPOCH },
    expected,
    staleAfterMs,
    checkIntervals: { normalMs: 2_000, fastMs: 500, downMs: 5_000 },
  });
  const processes = new Map<
    string,
    { heartbeat: ObservedHeartbeat; answers: ProbeOutcome; heartbeats: boolean; durationMs: number }
  >();
  const lastProbe = new Map<string, number>();
  const transitions: (Transition & { at: number })[] = [];
  const registry = { readable: true, empty: false };
  let probing = true;
  let serial = 0;

  const start = (service: string, name: string, over: Partial<ObservedHeartbeat> = {}) => {
    serial += 1;
    const id = `id-${String(serial).padStart(4, '0')}`;
    const heartbeat: ObservedHeartbeat = {
      id,
      service,
      name,
      address: `${name}:1`,
      opsAddress: `${name}:2`,
      version: '1',
      startedAt: EPOCH + at,
      state: 'ready',
      load: {},
      dependencies: {},
      beatAt: EPOCH + at,
      ...over,
    };
    processes.set(id, { heartbeat, answers: 'ok', heartbeats: true, durationMs: 2 });
    return id;
  };
  const say = (id: string, over: Partial<ObservedHeartbeat>) => {
    const process = processes.get(id);
    if (process) process.heartbeat = { ...process.heartbeat, ...over };
  };
  const change = (
    id: string,
    over: Partial<{ answers: ProbeOutcome; heartbeats: boolean; durationMs: number }>,
  ) => Object.assign(processes.get(id) ?? {}, over);
  const kill = (id: string) => change(id, { answers: 'refused', heartbeats: false });
  const leave = (id: string) => void processes.delete(id);

  const step = () => {
    at += 100;
    for (const process of processes.values()) {
      if (process.heartbeats && at % 2_000 === 0)
        process.heartbeat = { ...process.heartbeat, beatAt: EPOCH + at };
    }
    if (at % 1_000 === 0) {
      const live = [...processes.values()].filter(({ heartbeat }) => EPOCH + at - heartbeat.beatAt < 7_000);
      if (registry.readable) {
        const ids = new Set(registry.empty ? [] : processes.keys());
        fleet.recordRegistryRead({
          now: EPOCH + at,
          heartbeats: registry.empty ? [] : live.map(({ heartbeat }) => heartbeat),
          ids,
        });
      } else fleet.recordRegistryFailure();
    }
    for (const target of probing ? fleet.probeTargets() : []) {
      if (at - (lastProbe.get(target.id) ?? 0) < target.periodMs) continue;
      lastProbe.set(target.id, at);
      const process = processes.get(target.id);
      fleet.recordProbe(target.id, {
        outcome: process?.answers ?? 'refused',
        durationMs: process?.durationMs ?? 1,
      });
    }
    for (const transition of fleet.tick()) transitions.push({ ...transition, at });
  };
  const play = (ms: number) => {
    for (let passed = 0; passed < ms; passed += 100) step();
  };
  const stateOf = (name: string) =>
    fleet
      .snapshot()
      .services.flatMap(({ instances }) => instances)
      .find((instance) => instance.name === name)?.state;
  const statusOf = (service: string) =>
    fleet.snapshot().services.find((one) => one.service === service)?.status;
  return {
    fleet,
    start,
    say,
    change,
    kill,
    leave,
    play,
    stateOf,
    statusOf,
    registry,
    transitions,
    stopProbing: () => {
      probing = false;
    },
    now: () => at,
  };
};

const running = () => {
  const world = setUp();
  const ids = {
    g1: world.start('gateway', 'g1'),
    g2: world.start('gateway', 'g2'),
    s1: world.start('session', 's1'),
  };
  world.play(8_000);
  return { ...world, ids };
};

describe('states of one instance', () => {
  test('[IS1] one that says ready and answers is up within three seconds', () => {
    const world = setUp();
    world.start('gateway', 'g1');
    world.play(3_000);
    expect(world.stateOf('g1')).toBe('up');
  });

  test('[IS2] one that is killed is suspect at once and down within 3.5 seconds', () => {
    const { kill, play, stateOf, ids, transitions, now } = running();
    const killedAt = now();
    kill(ids.g1);
    play(5_000);
    expect(stateOf('g1')).toBe('down');
    const down = transitions.find(({ to, name }) => to === 'down' && name === 'g1');
    expect(down?.why).toBe('refused');
    expect((down?.at ?? 0) - killedAt).toBeLessThanOrEqual(3_500);
    expect(stateOf('g2')).toBe('up');
  });

  test('[IS3] one that hangs is down within seven seconds, and not after a single timeout', () => {
    const { change, play, ids, transitions, now } = running();
    const hungAt = now();
    change(ids.g1, { answers: 'timeout', heartbeats: false });
    play(10_000);
    const path = transitions.filter(({ name, at }) => name === 'g1' && at > hungAt).map(({ to }) => to);
    expect(path).toEqual(['suspect', 'down']);
    expect((transitions.find(({ to }) => to === 'down')?.at ?? 0) - hungAt).toBeLessThanOrEqual(7_000);
  });

  test('[IS4] one lost probe makes a suspect that returns with the next good one', () => {
    const { change, play, ids, stateOf } = running();
    change(ids.g1, { answers: 'timeout' });
    while (stateOf('g1') !== 'suspect') play(100);
    change(ids.g1, { answers: 'ok' });
    play(700);
    expect(stateOf('g1')).toBe('up');
  });

  test('[IS5] one that says so is draining, is gone when it leaves, and is not missed', () => {
    const { say, leave, play, ids, stateOf, statusOf, transitions } = running();
    say(ids.g1, { state: 'draining' });
    play(3_000);
    expect(stateOf('g1')).toBe('draining');
    leave(ids.g1);
    play(9_000);
    expect(stateOf('g1')).toBeUndefined();
    expect(statusOf('gateway')).toBe('operational');
    expect(transitions.some(({ to }) => to === 'down')).toBe(false);
  });

  test('[IS18] one that was draining and resumes is up at once, whatever its probes said meanwhile', () => {
    const { say, change, play, ids, stateOf, transitions } = running();
    say(ids.g1, { state: 'draining' });
    change(ids.g1, { answers: 'unready' });
    play(20_000);
    expect(stateOf('g1')).toBe('draining');
    say(ids.g1, { state: 'ready' });
    play(2_000);
    change(ids.g1, { answers: 'ok' });
    play(3_000);
    expect(stateOf('g1')).toBe('up');
    expect(transitions.some(({ to }) => to === 'down')).toBe(false);
  });

  test('[IS15] one that leaves without a word is gone, not down, as soon as it no longer answers', () => {
    const { leave, play, ids, stateOf, transitions } = running();
    leave(ids.g1);
    play(4_000);
    expect(stateOf('g1')).toBeUndefined();
    expect(transitions.at(-1)).toMatchObject({ name: 'g1', to: 'gone', why: 'left' });
    expect(transitions.some(({ to }) => to === 'down')).toBe(false);
  });

  test('[IS6] a new incarnation at the same address or name replaces the old at once', () => {
    const { start, kill, play, ids, fleet, stateOf } = running();
    kill(ids.g1);
    play(3_500);
    const next = start('gateway', 'g1');
    play(2_500);
    const gateways = fleet.snapshot().services.find(({ service }) => service === 'gateway');
    expect(gateways?.instances.map(({ id }) => id).sort()).toEqual([ids.g2, next].sort());
    expect(stateOf('g1')).toBe('up');
  });

  test('[IS7] a heartbeat of an older incarnation is ignored', () => {
    const { start, kill, change, play, ids, fleet } = running();
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
  ] as const)('[IS8] %s makes an instance degraded, not down', (_, over, why) => {
    const { say, play, ids, fleet, stateOf } = running();
    say(ids.g1, over);
    play(9_000);
    expect(stateOf('g1')).toBe('degraded');
    const view = fleet.snapshot().services.flatMap(({ instances }) => instances);
    expect(view.find(({ name }) => name === 'g1')?.why).toBe(why);
  });

  test('[IS9] a degraded one is up again only after 15 calm seconds', () => {
    const { say, play, ids, stateOf } = running();
    say(ids.g1, { dependencies: { redis: { status: 'down' } } });
    play(4_000);
    say(ids.g1, { dependencies: { redis: { status: 'up' } } });
    play(12_000);
    expect(stateOf('g1')).toBe('degraded');
    play(6_000);
    expect(stateOf('g1')).toBe('up');
  });

  test('[IS10] one that was down is up after two good probes three seconds apart', () => {
    const { kill, change, play, ids, stateOf } = running();
    kill(ids.g1);
    play(4_000);
    change(ids.g1, { answers: 'ok', heartbeats: true });
    play(4_000);
    expect(stateOf('g1')).toBe('down');
    play(8_000);
    expect(stateOf('g1')).toBe('up');
  });

  test('[IS11] one that stays down is listed for ten minutes, then gone', () => {
    const { kill, play, ids, stateOf } = running();
    kill(ids.g1);
    play(590_000);
    expect(stateOf('g1')).toBe('down');
    play(20_000);
    expect(stateOf('g1')).toBeUndefined();
  });

  test('[IS12] when the registry cannot be read, nobody is suspected for a late heartbeat', () => {
    const { registry, play, stateOf, fleet, transitions, now } = running();
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

  test('[IS13] when heartbeats vanish while processes answer, the registry is at fault and membership is frozen', () => {
    const { registry, play, fleet, transitions, now } = running();
    const since = now();
    registry.empty = true;
    play(30_000);
    expect(fleet.snapshot().frozen).toBe(true);
    expect(transitions.filter(({ at, to }) => at > since && to === 'down')).toEqual([]);
  });

  test('[IS14] most of a service failing softly at once is held back for 20 seconds', () => {
    const world = setUp({ expected: { gateway: 1 } });
    const ids = ['g1', 'g2', 'g3'].map((name) => world.start('gateway', name));
    world.play(8_000);
    const since = world.now();
    for (const id of ids.slice(0, 2)) world.change(id, { answers: 'timeout', heartbeats: false });
    world.play(20_000);
    expect(world.transitions.filter(({ at, to }) => at > since && to === 'down').length).toBeLessThanOrEqual(
      1,
    );
    world.play(10_000);
    expect(world.stateOf('g1')).toBe('down');
    expect(world.stateOf('g2')).toBe('down');
  });
});

test('[IS16] a flapping instance counts as degraded even while it is up, through all its lives', () => {
  const { start, kill, play, ids, fleet, statusOf } = running();
  let id = ids.g1;
  for (let life = 0; life < 4; life += 1) {
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

describe('the fleet', () => {
  test('[FL1] is operational when everybody expected is up', () => {
    const { fleet } = running();
    expect(fleet.snapshot().services.map(({ status }) => status)).toEqual(['operational', 'operational']);
  });

  test('[FL2] shows unknown, not green, once evidence is older than the limit', () => {
    const { play, registry, stopProbing, fleet } = running();
    registry.readable = false;
    stopProbing();
    play(14_000);
    expect(fleet.snapshot().ageMs).toBeGreaterThan(13_000);
    play(3_000);
    const view = fleet.snapshot();
    expect(view.status).toBe('unknown');
    expect(view.services.every(({ status }) => status === 'unknown')).toBe(true);
  });

  test('[FL3] knows nothing at the start and says so', () => {
    const { fleet } = setUp();
    expect(fleet.snapshot().status).toBe('unknown');
  });

  test('[FL4] a required service without any instance is an outage once the registry was read', () => {
    const { start, play, statusOf, fleet } = setUp();
    start('session', 's1');
    play(8_000);
    expect(statusOf('gateway')).toBe('unknown');
    play(10_000);
    expect(statusOf('gateway')).toBe('major_outage');
    expect(fleet.snapshot().status).toBe('major_outage');
  });

  test('[FL5] the version counts changes, not the passing of time', () => {
    const { fleet, play, kill, ids } = running();
    play(20_000);
    const before = fleet.snapshot().version;
    play(20_000);
    expect(fleet.snapshot().version).toBe(before);
    kill(ids.g1);
    play(3_000);
    expect(fleet.snapshot().version).toBeGreaterThan(before);
  });

  test('[FL6] one of two killed is a partial outage of that service and of the fleet, not of the other service', () => {
    const { kill, play, ids, statusOf, fleet } = running();
    kill(ids.g1);
    play(5_000);
    expect(statusOf('gateway')).toBe('partial_outage');
    expect(statusOf('session')).toBe('operational');
    expect(fleet.snapshot().status).toBe('partial_outage');
  });

  test('[FL7] the database is judged by the session services alone, redis by everybody', () => {
    const world = setUp({ expected: {} });
    const up = {
      postgres: { status: 'up', latencyMs: 1.5 },
      redis: { status: 'up', latencyMs: 0.3 },
    } as const;
    world.start('session-service', 's1', { dependencies: up });
    world.start('ws-gateway', 'g1', {
      dependencies: { postgres: { status: 'down' }, redis: { status: 'down' } },
    });
    world.play(3_000);
    const { database, redis } = world.fleet.snapshot().dependencies;
    expect(database).toMatchObject({ status: 'up', latencyMs: 1.5, reporters: 1 });
    expect(redis).toMatchObject({ status: 'degraded', reporters: 2, failing: 1 });
  });

  test('[JO2] three failed journeys in a row are an outage while the stores are up, and no reason while one is down', () => {
    const world = setUp({ expected: { gateway: 1 } });
    const up = { postgres: { status: 'up' }, redis: { status: 'up' } } as const;
    world.start('gateway', 'g1', { dependencies: { redis: { status: 'up' } } });
    const s1 = world.start('session-service', 's1', { dependencies: up });
    world.play(4_000);
    expect(world.fleet.snapshot().status).toBe('operational');
    for (let round = 0; round < 3; round += 1)
      world.fleet.recordSyntheticCheck({ ok: false, step: 'receive' });
    expect(world.fleet.snapshot()).toMatchObject({
      status: 'major_outage',
      journey: { status: 'failing', step: 'receive' },
    });
    world.say(s1, { dependencies: { ...up, postgres: { status: 'down' } } });
    world.play(3_000);
    expect(world.fleet.snapshot().status).toBe('partial_outage');
    world.say(s1, { dependencies: up });
    world.fleet.recordSyntheticCheck({ ok: true, durationMs: 12 });
    world.play(20_000);
    expect(world.fleet.snapshot()).toMatchObject({
      status: 'operational',
      journey: { status: 'ok', durationMs: 12 },
    });
    world.play(60_000);
    expect(world.fleet.snapshot().journey).toBeUndefined();
  });
});

describe('what is behind the present state', () => {
  const saysDown = (forMs: number) => ({
    dependencies: { redis: { status: 'down' as const, reason: 'refused', forMs } },
  });

  test('[FH9] given the first failed check is older than the report, then `since` is its time and stays', () => {
    const world = running();
    expect(world.now()).toBe(8_000);
    const sinceAfter = (forMs: number) => {
      for (const id of Object.values(world.ids)) world.say(id, saysDown(forMs));
      // Beats are made and read every two seconds here.
      world.play(2_000);
      const [redis] = world.fleet.snapshot().impact;
      expect(redis).toMatchObject({ subject: 'redis', reasons: ['refused'] });
      return Date.parse(redis?.since ?? '') - EPOCH;
    };
    expect(sinceAfter(3_000)).toBe(7_000);
    expect(sinceAfter(5_000)).toBe(7_000);
    // Another one noticed it earlier.
    expect(sinceAfter(9_000)).toBe(5_000);
  });

  test('[JO5] a test message that arrived before a store failed is not shown while the store is down', () => {
    const world = running();
    world.fleet.recordSyntheticCheck({ ok: true, durationMs: 12 });
    expect(world.fleet.snapshot().journey?.status).toBe('ok');
    world.play(2_000);
    for (const id of Object.values(world.ids)) world.say(id, saysDown(0));
    world.play(3_000);
    expect(world.fleet.snapshot().dependencies['redis']?.status).toBe('down');
    expect(world.fleet.snapshot().journey).toBeUndefined();
    world.fleet.recordSyntheticCheck({ ok: false, step: 'publish' });
    expect(world.fleet.snapshot().journey).toMatchObject({ status: 'failed', step: 'publish' });
  });

  test('[FH10] gateways that cannot ask the session service are degraded, and users are told what fails', () => {
    const world = setUp({ expected: { 'ws-gateway': 1, 'session-service': 1 } });
    const gateway = world.start('ws-gateway', 'gateway-1');
    const service = world.start('session-service', 'session-1');
    world.play(8_000);
    const down = { session_service: { status: 'down' as const, reason: 'auth' } };
    world.say(gateway, { state: 'degraded', dependencies: down });
    world.play(3_000);
    expect(world.fleet.snapshot().status).toBe('degraded');
    expect(world.fleet.snapshot().impact).toMatchObject([
      { subject: 'ws-gateway', reasons: ['gateway-1 dependency_session_service'] },
    ]);
    // An outage of the session service itself is the plainer cause.
    world.kill(service);
    world.play(10_000);
    expect(world.fleet.snapshot().impact.map(({ subject }) => subject)).toContain('session-service');
  });
});

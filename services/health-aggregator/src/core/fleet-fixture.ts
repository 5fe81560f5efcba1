import { createFleetState } from './fleet.ts';
import type { ObservedHeartbeat, ProbeOutcome, ProbeResult, Transition } from './ports.ts';

/** Start of the fake clock, ms since the epoch. */
export const FLEET_EPOCH = Date.UTC(2026, 0, 1);

interface FakeProcess {
  heartbeat: ObservedHeartbeat;
  answers: ProbeOutcome;
  heartbeats: boolean;
  durationMs: number;
}

/** Processes that send heartbeats and answer probes, until they are killed. */
const createProcesses = (now: () => number) => {
  const processes = new Map<string, FakeProcess>();
  let serial = 0;
  const change = (id: string, over: Partial<FakeProcess>) => Object.assign(processes.get(id) ?? {}, over);
  return {
    start: (service: string, name: string, over: Partial<ObservedHeartbeat> = {}) => {
      serial += 1;
      const id = `id-${String(serial).padStart(4, '0')}`;
      const heartbeat: ObservedHeartbeat = {
        ...{ id, service, name, address: `${name}:1`, opsAddress: `${name}:2`, version: '1' },
        ...{ startedAt: now(), state: 'ready', load: {}, dependencies: {}, beatAt: now() },
        ...over,
      };
      processes.set(id, { heartbeat, answers: 'ok', heartbeats: true, durationMs: 2 });
      return id;
    },
    report: (id: string, over: Partial<ObservedHeartbeat>) => {
      const process = processes.get(id);
      if (process) process.heartbeat = { ...process.heartbeat, ...over };
    },
    change,
    kill: (id: string) => change(id, { answers: 'refused', heartbeats: false }),
    leave: (id: string) => void processes.delete(id),
    ids: () => processes.keys(),
    sendHeartbeats: () => {
      for (const process of processes.values())
        if (process.heartbeats) process.heartbeat = { ...process.heartbeat, beatAt: now() };
    },
    freshHeartbeats: () =>
      [...processes.values()].map(({ heartbeat }) => heartbeat).filter(({ beatAt }) => now() - beatAt < 7_000),
    probe: (id: string): ProbeResult => {
      const process = processes.get(id);
      return { outcome: process?.answers ?? 'refused', durationMs: process?.durationMs ?? 1 };
    },
  };
};

/** A fleet with a fake clock, a fake registry and processes that can be killed. */
export const setUpFleet = ({
  expected = { gateway: 1, session: 1 } as Record<string, number>,
  staleAfterMs = 15_000,
} = {}) => {
  let at = 0;
  const now = () => FLEET_EPOCH + at;
  const fleet = createFleetState({
    clock: { now, monotonic: () => 1_000 + at },
    name: 'test',
    observer: { name: 'observer', version: '1', startedAt: FLEET_EPOCH },
    expected,
    staleAfterMs,
    checkIntervals: { normalMs: 2_000, fastMs: 500, downMs: 5_000 },
  });
  const { ids, sendHeartbeats, freshHeartbeats, probe, ...processes } = createProcesses(now);
  const lastProbe = new Map<string, number>();
  const transitions: (Transition & { at: number })[] = [];
  const registry = { readable: true, empty: false };
  let probing = true;

  const readRegistry = () => {
    if (!registry.readable) return fleet.recordRegistryFailure();
    const heartbeats = registry.empty ? [] : freshHeartbeats();
    fleet.recordRegistryRead({ now: now(), heartbeats, ids: new Set(registry.empty ? [] : ids()) });
  };
  const step = () => {
    at += 100;
    if (at % 2_000 === 0) sendHeartbeats();
    if (at % 1_000 === 0) readRegistry();
    for (const { id, periodMs } of probing ? fleet.probeTargets() : []) {
      if (at - (lastProbe.get(id) ?? 0) < periodMs) continue;
      lastProbe.set(id, at);
      fleet.recordProbe(id, probe(id));
    }
    for (const transition of fleet.tick()) transitions.push({ ...transition, at });
  };
  const services = () => fleet.snapshot().services;
  return {
    ...{ ...processes, fleet, registry, transitions },
    play: (ms: number) => {
      for (let passed = 0; passed < ms; passed += 100) step();
    },
    stateOf: (name: string) =>
      services()
        .flatMap(({ instances }) => instances)
        .find((instance) => instance.name === name)?.state,
    statusOf: (service: string) => services().find((each) => each.service === service)?.status,
    stopProbing: () => {
      probing = false;
    },
    now: () => at,
  };
};

/** Two gateways and a session service that are up. */
export const setUpRunningFleet = () => {
  const fixture = setUpFleet();
  const ids = {
    g1: fixture.start('gateway', 'g1'),
    g2: fixture.start('gateway', 'g2'),
    s1: fixture.start('session', 's1'),
  };
  fixture.play(8_000);
  return { ...fixture, ids };
};

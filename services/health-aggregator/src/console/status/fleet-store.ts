import { computed, signal } from '@preact/signals';
import type { FleetPulse, FleetSnapshot } from '../../core/fleet-snapshot.ts';

const STALE_MS = 15_000;
const REOPEN_MS = 3_000;
const TICK_MS = 500;

/** Last snapshot, with the ages of the last pulse. */
export const fleet = signal<FleetSnapshot | undefined>(undefined);
/** Arrival of the last snapshot or pulse, by `performance.now()`. */
const receivedAt = signal(0);
/** True while the event stream is open. */
export const isLive = signal(false);
const now = signal(performance.now());

/** Time since the last update, ms; added to every age that the server sent. */
export const sinceUpdateMs = computed(() => Math.max(0, now.value - receivedAt.value));
/** Age of the newest data on the page, ms. */
export const ageMs = computed(() => (fleet.value ? fleet.value.ageMs + sinceUpdateMs.value : 0));
/** True when the data is too old to be shown as current. */
export const isStale = computed(() => fleet.value !== undefined && ageMs.value > STALE_MS);

const MAX_SAMPLES = 60;
const SAMPLE_MS = 5_000;
const connectionHistory = new Map<string, number[]>();
let sampledAt = Number.NEGATIVE_INFINITY;

/** Connections of an instance over the last five minutes, sampled by this page. */
export const connectionTrend = (id: string): readonly number[] => connectionHistory.get(id) ?? [];

const sampleConnections = (view: FleetSnapshot): void => {
  if (performance.now() - sampledAt < SAMPLE_MS) return;
  sampledAt = performance.now();
  const listed = new Set<string>();
  for (const { id, load } of view.services.flatMap(({ instances }) => instances)) {
    if (load['connections'] === undefined) continue;
    listed.add(id);
    connectionHistory.set(id, [...connectionTrend(id), load['connections']].slice(-MAX_SAMPLES));
  }
  for (const id of connectionHistory.keys()) if (!listed.has(id)) connectionHistory.delete(id);
};

const applySnapshot = (view: FleetSnapshot): void => {
  sampleConnections(view);
  fleet.value = view;
  receivedAt.value = performance.now();
  now.value = receivedAt.value;
};

/** Snapshot with the ages of a newer pulse. */
export const applyPulse = (view: FleetSnapshot, pulse: FleetPulse): FleetSnapshot => ({
  ...view,
  asOf: pulse.asOf,
  ageMs: pulse.ageMs,
  dependencies: pulse.dependencies,
  services: view.services.map((service) => ({
    ...service,
    instances: service.instances.map((instance) => {
      const newer = pulse.instances[instance.id];
      if (!newer) return instance;
      const { beatAgeMs, loopP99Ms } = newer;
      const load = loopP99Ms === undefined ? instance.load : { ...instance.load, loopP99Ms };
      return { ...instance, beatAgeMs, load };
    }),
  })),
});

/** Opens the event stream and reopens it on failure, also after an error response, where `EventSource` gives up. */
export const startFleetStore = (): void => {
  const source = new EventSource('/v1/fleet/events');
  source.addEventListener('open', () => {
    isLive.value = true;
  });
  source.addEventListener('snapshot', (event) => applySnapshot(JSON.parse(event.data) as FleetSnapshot));
  source.addEventListener('pulse', (event) => {
    if (fleet.value) applySnapshot(applyPulse(fleet.value, JSON.parse(event.data) as FleetPulse));
  });
  source.addEventListener('error', () => {
    isLive.value = false;
    if (source.readyState === EventSource.CLOSED) setTimeout(startFleetStore, REOPEN_MS);
  });
};

setInterval(() => {
  now.value = performance.now();
}, TICK_MS);

import { computed, signal } from '@preact/signals';
import type { FleetPulse, FleetSnapshot } from '../../core/fleet-snapshot.ts';

const STALE_MS = 15_000;
const REOPEN_MS = 3_000;
const TICK_MS = 500;

/** The last snapshot, with the ages of the last pulse. */
export const fleet = signal<FleetSnapshot | undefined>(undefined);
/** When that came in, by `performance.now()`. */
const receivedAt = signal(0);
/** True while the event stream is open. */
export const isLive = signal(false);
const now = signal(performance.now());

/** ms since the last word; added to every age that the server sent. */
export const sinceUpdateMs = computed(() => Math.max(0, now.value - receivedAt.value));
/** Age of the freshest evidence behind the page, ms. */
export const ageMs = computed(() => (fleet.value ? fleet.value.ageMs + sinceUpdateMs.value : 0));
/** True when nothing on the page may be taken as the present. */
export const isStale = computed(() => fleet.value !== undefined && ageMs.value > STALE_MS);

const KEPT_VALUES = 60;
const RECORD_MS = 5_000;
const connectionHistory = new Map<string, number[]>();
let recordedAt = Number.NEGATIVE_INFINITY;

/** Connections of an instance over the last five minutes, as this page saw them. */
export const connectionTrend = (id: string): readonly number[] => connectionHistory.get(id) ?? [];

const recordConnections = (view: FleetSnapshot): void => {
  if (performance.now() - recordedAt < RECORD_MS) return;
  recordedAt = performance.now();
  const seen = new Set<string>();
  for (const { id, load } of view.services.flatMap(({ instances }) => instances)) {
    if (load['connections'] === undefined) continue;
    seen.add(id);
    connectionHistory.set(id, [...connectionTrend(id), load['connections']].slice(-KEPT_VALUES));
  }
  for (const id of connectionHistory.keys()) if (!seen.has(id)) connectionHistory.delete(id);
};

const applySnapshot = (view: FleetSnapshot): void => {
  recordConnections(view);
  fleet.value = view;
  receivedAt.value = performance.now();
  now.value = receivedAt.value;
};

/** Puts newer ages into a snapshot. */
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

/** Opens the event stream and keeps it open. A browser gives up after an answer that is no stream; this does not. */
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

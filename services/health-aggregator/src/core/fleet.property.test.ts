import fc from 'fast-check';
import { test } from 'vitest';
import { scrapeGroups } from '../http/fleet-routes.ts';
import { createFleetState } from './fleet.ts';
import type { ObservedHeartbeat, ProbeOutcome } from './ports.ts';

const EPOCH = Date.UTC(2026, 0, 1);
const STALE_MS = 15_000;
const OUTCOMES: readonly ProbeOutcome[] = ['ok', 'timeout', 'refused', 'reset', 'unready', 'http_error'];
const STATES: readonly ObservedHeartbeat['state'][] = ['starting', 'ready', 'degraded', 'draining'];

/** Anything that can happen to the model, with the time that passes before it. */
const event = fc.oneof(
  fc.record({ is: fc.constant('pass' as const), ms: fc.integer({ min: 0, max: 20_000 }) }),
  fc.record({
    is: fc.constant('heartbeat' as const),
    incarnation: fc.integer({ min: 0, max: 7 }),
    state: fc.constantFrom(...STATES),
  }),
  fc.record({
    is: fc.constant('probe' as const),
    incarnation: fc.integer({ min: 0, max: 7 }),
    outcome: fc.constantFrom(...OUTCOMES),
  }),
  fc.record({ is: fc.constant('lose' as const) }),
);

test('[FL2] given any sequence of events, nothing is operational from stale evidence, and no address is listed twice', () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 60 }), (events) => {
      let at = 0;
      let evidenceAt = Number.NEGATIVE_INFINITY;
      const fleet = createFleetState({
        clock: { now: () => EPOCH + at, monotonic: () => at },
        name: 'test',
        observer: { name: 'o', version: '1', startedAt: EPOCH },
        expected: { gateway: 1 },
        staleAfterMs: STALE_MS,
        checkIntervals: { normalMs: 2_000, fastMs: 500, downMs: 5_000 },
      });
      for (const one of events) {
        if (one.is === 'pass') at += one.ms;
        if (one.is === 'lose') fleet.recordRegistryFailure();
        if (one.is === 'probe' && fleet.monitors().some(({ id }) => id === `id-${one.incarnation}`)) {
          fleet.recordProbe(`id-${one.incarnation}`, { outcome: one.outcome, durationMs: 1 });
          evidenceAt = at;
        }
        if (one.is === 'heartbeat') {
          // Incarnations 0 to 3 and 4 to 7 share names and addresses: the later instances replace the earlier.
          const name = `g${one.incarnation % 4}`;
          const heartbeat: ObservedHeartbeat = {
            ...{
              id: `id-${one.incarnation}`,
              service: 'gateway',
              name,
              address: `${name}:1`,
              opsAddress: `${name}:2`,
            },
            ...{
              version: '1',
              startedAt: EPOCH,
              state: one.state,
              load: {},
              dependencies: {},
              beatAt: EPOCH + at,
            },
          };
          fleet.recordRegistryRead({
            now: EPOCH + at,
            heartbeats: [heartbeat],
            ids: new Set([heartbeat.id]),
          });
          evidenceAt = at;
        }
        fleet.tick();
        const { status, services } = fleet.snapshot();
        const isStale = at - evidenceAt > STALE_MS;
        if (isStale && (status !== 'unknown' || services.some((service) => service.status === 'operational')))
          return false;
        const groups = scrapeGroups(fleet.monitors(), undefined);
        if (groups?.length === 0) return false;
        if (groups && new Set(groups.map(({ targets }) => targets[0])).size !== groups.length) return false;
        const names = services.flatMap(({ instances }) => instances.map(({ name }) => name));
        if (new Set(names).size !== names.length) return false;
      }
      return true;
    }),
    { numRuns: 500 },
  );
});

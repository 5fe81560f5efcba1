import type { SweepStore } from '../core/expiry-sweeper.ts';
import type { Queryable } from './pool.ts';
import {
  countActive,
  deleteEnded,
  findExpired,
  findIdle,
  findOrphaned,
  keepHouse,
  rearmActive,
} from './queries/maintenance.ts';
import { touchSessions } from './queries/touch-sessions.ts';

/** What sweeping and touching ask of Postgres. */
export const createSweepStore = (db: Queryable): SweepStore => ({
  rescheduleActive: (limit) => rearmActive(db, limit),
  findIdle: (limit) => findIdle(db, limit),
  findExpired: (limit) => findExpired(db, limit),
  findOrphaned: (limit) => findOrphaned(db, limit),
  touch: (touches) => touchSessions(db, touches),
  deleteEnded: (retention, limit) => deleteEnded(db, retention, limit),
  countActive: () => countActive(db),
  runHousekeeping: (eventDays) => keepHouse(db, eventDays),
});

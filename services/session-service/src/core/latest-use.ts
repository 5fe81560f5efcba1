import type { SessionPresence } from '@muster/session/session-presence';
import type { SessionId } from '@muster/session/token';
import type { ActivityFlusher } from './activity-flusher.ts';

/** The use of a session that Postgres may not know of yet. */
export interface LatestUse {
  /** Latest activity, in ms since the epoch; undefined where nothing is on its way to Postgres. */
  readonly at: number | undefined;
  /** True while a socket is open; false also where that is not known. */
  readonly isOnline: boolean;
}

/** Answers in the order of the ids, within a quarter of a second; never rejects. */
export type LatestUses = (ids: readonly SessionId[]) => Promise<readonly LatestUse[]>;

/** Activity that was noted and not yet written, and the sockets that gateways report. */
export const createLatestUses =
  (toucher: Pick<ActivityFlusher, 'latest'>, presence: SessionPresence): LatestUses =>
  async (ids) => {
    const [touched, sockets] = await Promise.all([toucher.latest(ids), presence.socketsOf(ids)]);
    return ids.map((_, at) => ({ at: touched[at], isOnline: (sockets[at] ?? 0) > 0 }));
  };

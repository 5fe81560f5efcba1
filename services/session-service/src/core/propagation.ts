import { type Clock, within } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { MAX_IDS_PER_CHANGE, type SessionChange } from '@muster/session/session-events';
import type { SessionId } from '@muster/session/token';
import type { Change, OutboxEntry, OutboxStore, SessionStore, Snapshots } from './ports.ts';
import { type SessionRecord, toSnapshot } from './session.ts';

/** Whether the fleet knows of a committed change already. */
export type PropagationState = 'done' | 'pending';

/** Takes committed changes to Redis and to the bus. */
export interface Propagation {
  /**
   * Delivers a change now; `pending` when Redis did not take it in time: then the outbox will. Never rejects.
   * `records` spare a look into Postgres for changes other than ends.
   */
  deliver(posted: OutboxEntry | undefined, records?: readonly SessionRecord[]): Promise<PropagationState>;
  /** Delivers an outbox row, or rejects. */
  redeliver(posted: OutboxEntry): Promise<void>;
}

interface PropagationDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly store: Pick<SessionStore, 'findMany'>;
  readonly snapshots: Pick<Snapshots, 'put' | 'tomb'>;
  readonly outbox: Pick<OutboxStore, 'remove'>;
  readonly emit: (change: SessionChange) => Promise<unknown>;
  /** Told how long each delivered change was on its way, in ms. */
  readonly onDelivered: (ms: number) => void;
}

const DEADLINE_MS = 1500;

/** Order of every delivery: snapshot or tombstone first, then the bus, then the outbox row goes. */
export const createPropagation = (deps: PropagationDeps): Propagation => {
  const { clock, log, outbox } = deps;
  const redeliver = async (posted: OutboxEntry, records?: readonly SessionRecord[]): Promise<void> => {
    const { change } = posted;
    if (change.k === 'end') await deliverEnd(deps, change);
    else await deliverChange(deps, change, records);
    deps.onDelivered(Math.max(0, clock.now() - change.at));
  };
  const forget = (posted: OutboxEntry): void => {
    outbox.remove([posted.outboxId]).catch((error: unknown) => {
      log.debug({ error }, 'outbox.remove_failed'); // The relay delivers it once more, which is harmless.
    });
  };
  return {
    redeliver: (posted) => redeliver(posted),
    deliver: async (posted, records) => {
      if (posted === undefined) return 'done';
      try {
        await within(DEADLINE_MS, 'delivery of a session change', redeliver(posted, records));
      } catch (error) {
        log.warn({ error, kind: posted.change.k }, 'session.propagation_pending');
        return 'pending';
      }
      forget(posted);
      return 'done';
    },
  };
};

const deliverEnd = async (deps: PropagationDeps, change: Extract<Change, { k: 'end' }>): Promise<void> => {
  for (const part of chunks(change.sessions)) {
    await Promise.all(part.map(({ id, rev, tenant }) => deps.snapshots.tomb(id, rev, change.why, tenant)));
    await deps.emit({ k: 'end', ids: part.map(({ id }) => id), why: change.why, at: change.at });
  }
};

const deliverChange = async (
  deps: PropagationDeps,
  change: Exclude<Change, { k: 'end' }>,
  records: readonly SessionRecord[] | undefined,
): Promise<void> => {
  for (const ids of chunks(change.ids)) {
    const found = records ?? (await deps.store.findMany(ids as SessionId[]));
    const now = deps.clock.now();
    const living = found.filter((record) => record.endedAt === null && record.expiresAt > now);
    await Promise.all(living.map((record) => deps.snapshots.put(toSnapshot(record, now))));
    await deps.emit({ k: change.k, ids, why: change.why, at: change.at });
  }
};

const chunks = <T>(list: readonly T[]): T[][] =>
  Array.from({ length: Math.ceil(list.length / MAX_IDS_PER_CHANGE) }, (_, at) =>
    list.slice(at * MAX_IDS_PER_CHANGE, (at + 1) * MAX_IDS_PER_CHANGE),
  );

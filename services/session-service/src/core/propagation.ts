import { type Clock, within } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { MAX_IDS_PER_CHANGE, type SessionChange } from '@muster/session/session-events';
import type { SessionId } from '@muster/session/token';
import type { Change, OutboxEntry, OutboxStore, SessionStore, Snapshots } from './ports.ts';
import { type SessionRecord, toSnapshot } from './session-record.ts';

/** `done` once Redis and the bus have a committed change. */
export type PropagationState = 'done' | 'pending';

/** Delivers committed changes to Redis and the bus. */
export type Propagation = ReturnType<typeof createPropagation>;

interface PropagationDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly store: Pick<SessionStore, 'findMany'>;
  readonly snapshots: Pick<Snapshots, 'put' | 'tomb'>;
  readonly outbox: Pick<OutboxStore, 'remove'>;
  readonly emit: (change: SessionChange) => Promise<unknown>;
  /** Called with the delay of each delivered change, in ms. */
  readonly onDelivered: (ms: number) => void;
}

const DEADLINE_MS = 1500;

/** Delivers in this order: snapshot or tombstone, then the bus, then the outbox row is deleted. */
export const createPropagation = (deps: PropagationDeps) => {
  const { clock, log, outbox } = deps;
  const send = async (posted: OutboxEntry, records?: readonly SessionRecord[]): Promise<void> => {
    const { change } = posted;
    if (change.k === 'end') await deliverEnd(deps, change);
    else await deliverChange(deps, change, records);
    deps.onDelivered(Math.max(0, clock.now() - change.at));
  };
  const removeRow = (posted: OutboxEntry): void => {
    outbox.remove([posted.outboxId]).catch((error: unknown) => {
      log.debug({ error }, 'outbox.remove_failed'); // The relay delivers it again; deliveries are idempotent.
    });
  };
  return {
    /** Delivers an outbox row, or rejects. */
    redeliver: (posted: OutboxEntry): Promise<void> => send(posted),
    /**
     * Delivers a change now; `pending` when Redis did not accept it in 1.5 s: then the relay delivers it. Never rejects.
     * `records` save a read from Postgres for changes other than ends.
     */
    deliver: async (posted: OutboxEntry | undefined, records?: readonly SessionRecord[]): Promise<PropagationState> => {
      if (posted === undefined) return 'done';
      try {
        await within(DEADLINE_MS, 'delivery of a session change', send(posted, records));
      } catch (error) {
        log.warn({ error, kind: posted.change.k }, 'session.propagation_pending');
        return 'pending';
      }
      removeRow(posted);
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
    const live = found.filter((record) => record.endedAt === null && record.expiresAt > now);
    await Promise.all(live.map((record) => deps.snapshots.put(toSnapshot(record, now))));
    await deps.emit({ k: change.k, ids, why: change.why, at: change.at });
  }
};

const chunks = <T>(list: readonly T[]): T[][] =>
  Array.from({ length: Math.ceil(list.length / MAX_IDS_PER_CHANGE) }, (_, at) =>
    list.slice(at * MAX_IDS_PER_CHANGE, (at + 1) * MAX_IDS_PER_CHANGE),
  );

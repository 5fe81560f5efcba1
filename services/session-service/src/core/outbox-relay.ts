import type { Logger } from '@muster/kit/logger';
import { createPeriodicJob } from '@muster/kit/periodic-job';
import type { OutboxEntry, OutboxStore } from './ports.ts';
import type { Propagation } from './propagation.ts';

/** Committed changes that are not delivered yet. */
export interface OutboxBacklog {
  readonly count: number;
  /** Commit of the oldest, in ms since the epoch; undefined without a backlog. */
  readonly oldestAt: number | undefined;
}

interface RelayDeps {
  readonly outbox: OutboxStore;
  readonly propagation: Pick<Propagation, 'redeliver'>;
  readonly log: Logger;
  readonly pollMs: number;
  /** Called after each run with the size of the backlog. */
  readonly onWaiting: (count: number) => void;
}

interface Page {
  /** Id of the last row. */
  readonly last: string;
  readonly read: number;
  readonly delivered: number;
  readonly kept: readonly OutboxEntry[];
}

/** Younger rows are delivered by the request that wrote them. */
const MIN_AGE_MS = 1000;
const PAGE = 100;

/** Delivers what a crash or an outage left in the outbox; polls it, one run at a time. Runs on every replica. */
export const createOutboxRelay = ({ outbox, propagation, log, pollMs, onWaiting }: RelayDeps) => {
  let backlog: OutboxBacklog | undefined = { count: 0, oldestAt: undefined };

  const deliverPage = async (after: string): Promise<Page> => {
    const rows = await outbox.pending(MIN_AGE_MS, PAGE, after);
    const done: string[] = [];
    const kept: OutboxEntry[] = [];
    for (const row of rows) {
      if (await delivers(row)) done.push(row.outboxId);
      else kept.push(row);
    }
    if (done.length > 0) await outbox.remove(done);
    return { last: rows.at(-1)?.outboxId ?? after, read: rows.length, delivered: done.length, kept };
  };
  /** A row that cannot be delivered must not block the following rows. */
  const delivers = async (row: OutboxEntry): Promise<boolean> => {
    try {
      await propagation.redeliver(row);
      return true;
    } catch (error) {
      log.debug({ error, row: row.outboxId }, 'outbox.delivery_failed');
      return false;
    }
  };
  const drainOutbox = async (): Promise<number> => {
    let delivered = 0;
    const kept: OutboxEntry[] = [];
    try {
      for (let after = '0', isMore = true; isMore; ) {
        const page = await deliverPage(after);
        delivered += page.delivered;
        kept.push(...page.kept);
        after = page.last;
        // If no row of a page could be delivered, the next page would fail as well.
        isMore = page.read === PAGE && page.delivered > 0;
      }
      backlog = { count: kept.length, oldestAt: kept[0]?.change.at };
      onWaiting(kept.length);
    } catch (error) {
      backlog = undefined;
      log.debug({ error }, 'outbox.relay_failed');
    }
    if (delivered > 0) log.info({ delivered }, 'outbox.relayed');
    return delivered;
  };
  return {
    /** `runOnce` delivers rows older than one second and resolves with their number. Never rejects. */
    ...createPeriodicJob(pollMs, drainOutbox),
    /** The backlog after the last run; undefined when the outbox could not be read. */
    backlog: (): OutboxBacklog | undefined => backlog,
  };
};

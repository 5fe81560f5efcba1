import { every } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { OutboxEntry, OutboxStore } from './ports.ts';
import type { Propagation } from './propagation.ts';

/** Delivers what a crash or an outage left in the outbox. Runs on every replica. */
export interface OutboxRelay extends AsyncDisposable {
  /** Delivers everything older than a second; resolves with the number of rows delivered. Never rejects. */
  runOnce(): Promise<number>;
  /** What the last run left; undefined when it could not read the outbox. */
  backlog(): OutboxBacklog | undefined;
}

/** Changes that the fleet does not know of yet. */
export interface OutboxBacklog {
  readonly count: number;
  /** When the oldest was committed, in ms since the epoch; undefined when none waits. */
  readonly oldestAt: number | undefined;
}

interface RelayDeps {
  readonly outbox: OutboxStore;
  readonly propagation: Pick<Propagation, 'redeliver'>;
  readonly log: Logger;
  readonly pollMs: number;
  /** Told after each run how many changes are still waiting. */
  readonly onWaiting: (count: number) => void;
}

interface Page {
  /** Id of the last row. */
  readonly last: string;
  readonly read: number;
  readonly delivered: number;
  readonly kept: readonly OutboxEntry[];
}

/** Younger rows are still in the hands of the request that wrote them. */
const MIN_AGE_MS = 1000;
const PAGE = 100;

/** Polls the outbox, one run at a time. */
export const createOutboxRelay = ({
  outbox,
  propagation,
  log,
  pollMs,
  onWaiting,
}: RelayDeps): OutboxRelay => {
  let running: Promise<number> | undefined;
  let left: OutboxBacklog | undefined = { count: 0, oldestAt: undefined };

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
  /** One row that cannot be delivered must not hold up those behind it. */
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
        // When nothing of a page arrives, nothing of the next one will.
        isMore = page.read === PAGE && page.delivered > 0;
      }
      left = { count: kept.length, oldestAt: kept[0]?.change.at };
      onWaiting(kept.length);
    } catch (error) {
      left = undefined;
      log.debug({ error }, 'outbox.relay_failed');
    }
    if (delivered > 0) log.info({ delivered }, 'outbox.relayed');
    return delivered;
  };
  const runOnce = (): Promise<number> => {
    running ??= drainOutbox().finally(() => {
      running = undefined;
    });
    return running;
  };

  const stop = every(pollMs, () => void runOnce());
  return {
    runOnce,
    backlog: () => left,
    [Symbol.asyncDispose]: async () => {
      stop();
      await running;
    },
  };
};

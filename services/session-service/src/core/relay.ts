import { every } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { OutboxStore } from './ports.ts';
import type { Propagation } from './propagation.ts';

/** Delivers what a crash or an outage left in the outbox. Runs on every replica. */
export interface Relay extends AsyncDisposable {
  /** Delivers everything older than a second; resolves with the number of rows delivered. Never rejects. */
  runOnce(): Promise<number>;
}

interface RelayDeps {
  readonly outbox: OutboxStore;
  readonly propagation: Pick<Propagation, 'redeliver'>;
  readonly log: Logger;
  readonly pollMs: number;
}

/** Younger rows are still in the hands of the request that wrote them. */
const MIN_AGE_MS = 1000;
const PAGE = 100;

/** Polls the outbox, one run at a time. */
export const createRelay = ({ outbox, propagation, log, pollMs }: RelayDeps): Relay => {
  let running: Promise<number> | undefined;

  const deliverPage = async (): Promise<number> => {
    const rows = await outbox.pending(MIN_AGE_MS, PAGE);
    for (const row of rows) await propagation.redeliver(row);
    if (rows.length > 0) await outbox.remove(rows.map(({ outboxId }) => outboxId));
    return rows.length;
  };
  const drainOutbox = async (): Promise<number> => {
    let delivered = 0;
    try {
      for (;;) {
        const count = await deliverPage();
        delivered += count;
        if (count < PAGE) break;
      }
    } catch (error) {
      log.debug({ error }, 'outbox.relay-failed');
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
    [Symbol.asyncDispose]: async () => {
      stop();
      await running;
    },
  };
};

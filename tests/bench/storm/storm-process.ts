import { type ClientEvents, StormClient } from './client.ts';
import type { StormAnswer, StormCounts, StormJob, StormOrder } from './storm.ts';

/** Clients that connect at the same time at the start; the reconnects are not batched. */
const BATCH = 100;
const POLL_MS = 10;
const CONNECT_TIMEOUT_MS = 120_000;

const clients: StormClient[] = [];
const joined = new Map<StormClient, number>();
let port = 0;
let droppedAt = 0;
let job: StormJob | undefined;
const totals = { lost: 0, duplicates: 0, unrecovered: 0, retries: 0 };

const events: ClientEvents = {
  onJoined: (client) => void joined.set(client, performance.now()),
  onLost: (count) => {
    totals.lost += count;
  },
  onDuplicate: () => {
    totals.duplicates += 1;
  },
  onUnrecovered: () => {
    totals.unrecovered += 1;
  },
  onRetry: () => {
    totals.retries += 1;
  },
  port: () => port,
};

process.on('message', (order: StormOrder) => {
  const log = (answer: StormAnswer) => void process.send?.(answer);
  obey(order).then(
    () => log({ is: 'done', counts: countsNow() }),
    (error: unknown) => log({ is: 'failed', why: String(error) }),
  );
});

const obey = async (order: StormOrder): Promise<void> => {
  switch (order.is) {
    case 'connect':
      job = order.job;
      port = job.port;
      return connectAll(job);
    case 'drop':
      port = order.port;
      droppedAt = performance.now();
      joined.clear();
      Object.assign(totals, { lost: 0, duplicates: 0, unrecovered: 0, retries: 0 });
      if (order.cut) for (const client of clients) client.cut();
      return undefined;
    case 'resumed':
      return until(() => joined.size >= clients.length * order.share, order.timeoutMs, 'resumed');
    case 'heard': {
      const counts = new Map(order.counts.map((count, at) => [nameOf(at), count]));
      const missing = () => clients.reduce((sum, client) => sum + client.missing(counts), 0);
      await until(() => missing() === 0, order.timeoutMs, 'heard').catch(() => {});
      totals.lost += missing();
      return undefined;
    }
    default:
      return order satisfies never;
  }
};

const nameOf = (group: number): string => `storm${group}`;

const connectAll = async ({ tokens, groups, perClient }: StormJob): Promise<void> => {
  for (let from = 0; from < tokens.length; from += BATCH) {
    const batch = tokens.slice(from, from + BATCH).map((token, at) => {
      const first = (from + at) * perClient;
      const names = Array.from({ length: perClient }, (_, step) => nameOf((first + step) % groups));
      return new StormClient(token, names, events);
    });
    clients.push(...batch);
    for (const client of batch) client.connect();
    await until(() => joined.size === clients.length, CONNECT_TIMEOUT_MS, 'connected');
  }
};

const countsNow = (): StormCounts => {
  const times = [...joined.values()].map((at) => at - droppedAt).sort((a, b) => a - b);
  const when = (share: number) => times[Math.ceil(clients.length * share) - 1] ?? Number.NaN;
  return { p50: when(0.5), p99: when(0.99), all: when(1), resumed: joined.size, ...totals };
};

const until = async (isSo: () => boolean, timeoutMs: number, what: string): Promise<void> => {
  const giveUp = performance.now() + timeoutMs;
  while (!isSo()) {
    if (performance.now() > giveUp) throw new Error(`not all ${what}: ${statesNow()}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
};

const statesNow = (): string => {
  const states = new Map<string, number>();
  for (const { state } of clients) states.set(state, (states.get(state) ?? 0) + 1);
  return [...states].map(([state, count]) => `${count} ${state}`).join(', ');
};

import { setTimeout as sleep } from 'node:timers/promises';
import { createDeliveryOracle, type DeliveryOracle } from '@muster/testkit/delivery-oracle';
import { until } from '@muster/testkit/wait';
import { type SdkClient, sdkClient, signInUser } from '../cluster/clients.ts';
import type { ComposeFleet } from './compose.ts';

let groups = 0;
const PAUSE_MS = 50;
const TRY_TIMEOUT_MS = 5_000;
/** Together longer than any fault of the tests. */
const TRIES = 600;
const ARRIVED_WITHIN_MS = 60_000;

/** A back end that publishes, and a client on every gateway that records what it receives. */
export interface Traffic extends AsyncDisposable {
  readonly clients: readonly SdkClient[];
  readonly oracle: DeliveryOracle;
  /** Number of publications acknowledged so far. */
  published(): number;
  /** Waits until `count` more publications are acknowledged. */
  more(count: number): Promise<void>;
  /** Stops publishing, waits until every client has received all publications, and returns the report. */
  finish(): Promise<ReturnType<DeliveryOracle['report']>>;
}

/** Starts one client per gateway, and publishes every 50 ms until `finish`. */
export const startTraffic = async (fleet: ComposeFleet, gateways: number): Promise<Traffic> => {
  const oracle = createDeliveryOracle();
  groups += 1;
  // A new group: idempotency keys of publications are kept for minutes.
  const group = `news-${groups}`;
  const clients = await onEveryGateway(fleet, gateways);
  for (const [index, client] of clients.entries()) {
    const log = oracle.subscriber(`client ${index}`, group);
    const subscription = client.client.newSubscription(group, {
      minResubscribeDelay: 50,
      maxResubscribeDelay: 500,
    });
    subscription.on('publication', ({ data }) => log.received(data.n));
    subscription.on('subscribed', ({ wasRecovering, recovered }) => {
      if (wasRecovering && !recovered) log.resynced();
    });
    subscription.subscribe();
    await subscription.ready(10_000);
  }
  let published = 0;
  let isPublishing = true;
  const publishing = (async () => {
    while (isPublishing) {
      const n = oracle.nextPublication(group);
      await publish(fleet, group, n);
      oracle.acknowledged(group, n);
      published += 1;
      await sleep(PAUSE_MS);
    }
  })();
  // Awaited in `finish`; until then a rejection is not unhandled.
  publishing.catch(() => {});
  const stop = async () => {
    isPublishing = false;
    await publishing;
  };
  return {
    clients,
    oracle,
    published: () => published,
    more: async (count) => {
      const enough = published + count;
      await until(() => published, {
        ok: (now) => now >= enough,
        what: `${count} more publications`,
        timeoutMs: ARRIVED_WITHIN_MS,
      });
    },
    finish: async () => {
      await stop();
      await until(() => oracle.incompleteSubscribers(), {
        ok: (waiting) => waiting === 0,
        what: 'every publication at every client',
        timeoutMs: ARRIVED_WITHIN_MS,
      }).catch(() => {});
      return oracle.report();
    },
    [Symbol.asyncDispose]: async () => {
      await stop().catch(() => {});
      for (const client of clients) client[Symbol.dispose]();
    },
  };
};

/** Publishes with retries under one idempotency key. */
const publish = async (fleet: ComposeFleet, group: string, n: number): Promise<void> => {
  const body = JSON.stringify({ channel: group, data: { n }, idempotency_key: `${group}-${n}` });
  let last = '';
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    try {
      const answer = await fetch(`${fleet.publicUrl}/api/publish`, {
        method: 'POST',
        headers: { 'x-api-key': fleet.serverApiKey, 'content-type': 'application/json' },
        body,
        signal: AbortSignal.timeout(TRY_TIMEOUT_MS),
      });
      last = await answer.text();
      if (answer.ok && (JSON.parse(last) as { result?: object }).result !== undefined) return;
    } catch (error) {
      last = String(error);
    }
    await sleep(PAUSE_MS);
  }
  throw new Error(`publication ${n} was never accepted: ${last}`);
};

/** Connects clients until every gateway has one; a second client of a gateway is disconnected. */
export const onEveryGateway = async (fleet: ComposeFleet, gateways: number): Promise<SdkClient[]> => {
  const byGateway = new Map<string, SdkClient>();
  await until(
    async () => {
      const session = await signInUser(fleet, `user-${byGateway.size}`);
      const client = await sdkClient(fleet.publicUrl, session.credential);
      if (byGateway.has(client.gateway())) client[Symbol.dispose]();
      else byGateway.set(client.gateway(), client);
      return byGateway.size;
    },
    { ok: (size) => size >= gateways, what: `clients on ${gateways} gateways`, timeoutMs: 60_000 },
  );
  return [...byGateway.values()];
};

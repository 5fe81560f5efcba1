import { createDeliveryOracle, type DeliveryOracle, type DeliveryReport } from '@muster/testkit/delivery-oracle';
import { until } from '@muster/testkit/wait';
import { Centrifuge } from 'centrifuge';
import WebSocket from 'ws';
import { signInUser } from './clients.ts';

/** Addresses and keys of a fleet. */
export interface FleetAccess {
  readonly publicUrl: string;
  readonly serviceApiKey: string;
  readonly serverApiKey: string;
}

export interface WorkloadOptions {
  readonly subscribers: number;
  readonly groups: number;
  /** Of all groups together. */
  readonly publicationsPerSecond: number;
}

/** One SDK client that listens to one group. */
export interface WorkloadClient {
  readonly name: string;
  readonly client: Centrifuge;
  gateway: string;
  /** The gateways that lost it, in order. */
  readonly dropped: string[];
  /** Close codes of its connections, in order; 1 without a close code of the protocol, for instance 1006. */
  readonly codes: number[];
  /** Outcomes of subscribing again: true when nothing was lost. */
  readonly resumes: boolean[];
}

/** Many SDK clients, one publisher for each group, and an oracle between them. */
export interface DeliveryWorkload extends AsyncDisposable {
  readonly clients: readonly WorkloadClient[];
  readonly groups: readonly string[];
  readonly oracle: DeliveryOracle;
  /** Attempts of the publisher that had to be made again, each with its time and reason. */
  readonly refusals: readonly string[];
  /** Publishes while `work` runs, and until at least `more` further publications are out afterwards. */
  publishDuring(work: () => Promise<void>, more?: number): Promise<void>;
  /** Waits until every client has every publication or was notified of the loss, and reports. */
  settle(timeoutMs?: number): Promise<DeliveryReport>;
}

const SESSIONS = 20;
const CONNECTING_AT_ONCE = 20;
const RETRY_MS = 100;
const ATTEMPT_TIMEOUT_MS = 3_000;

/** Signs users in, connects and subscribes every client. No publications yet. */
export const startDeliveryWorkload = async (
  meeting: FleetAccess,
  options: WorkloadOptions,
): Promise<DeliveryWorkload> => {
  const oracle = createDeliveryOracle();
  const run = Math.random().toString(36).slice(2, 8);
  const groups = Array.from({ length: options.groups }, (_, n) => `workload:${run}-${n}`);
  const tokens = await Promise.all(
    Array.from({ length: Math.min(SESSIONS, options.subscribers) }, (_, n) => signInWithToken(meeting, n)),
  );
  const members: WorkloadClient[] = [];
  for (let from = 0; from < options.subscribers; from += CONNECTING_AT_ONCE) {
    const count = Math.min(CONNECTING_AT_ONCE, options.subscribers - from);
    const joining = Array.from({ length: count }, (_, n) =>
      connectClient(meeting.publicUrl, oracle, {
        name: `c${from + n}`,
        token: tokens[(from + n) % tokens.length] ?? '',
        group: groups[(from + n) % groups.length] ?? '',
      }),
    );
    members.push(...(await Promise.all(joining)));
  }
  const publisher = createPublisher(meeting, oracle, groups, {
    pauseMs: (1_000 * options.groups) / options.publicationsPerSecond,
  });
  return {
    clients: members,
    groups,
    oracle,
    refusals: publisher.refusals,
    publishDuring: publisher.during,
    settle: async (timeoutMs = 30_000) => {
      await until(oracle.incompleteSubscribers, {
        ok: (count) => count === 0,
        what: 'everybody',
        timeoutMs,
      }).catch(() => {});
      return oracle.report();
    },
    [Symbol.asyncDispose]: async () => {
      for (const { client } of members) client.disconnect();
    },
  };
};

const signInWithToken = async (meeting: FleetAccess, n: number): Promise<string> => {
  const { credential } = await signInUser(meeting, `workload-${n}`);
  return 'token' in credential ? credential.token : '';
};

const connectClient = async (
  publicUrl: string,
  oracle: DeliveryOracle,
  { name, token, group }: { name: string; token: string; group: string },
): Promise<WorkloadClient> => {
  const client = new Centrifuge(`${publicUrl.replace(/^http/, 'ws')}/connection/websocket`, {
    websocket: WebSocket,
    token,
    minReconnectDelay: 50,
    maxReconnectDelay: 1_000,
  });
  const member: WorkloadClient = { name, client, gateway: '', dropped: [], codes: [], resumes: [] };
  client.on('connected', ({ data }) => {
    member.gateway = data.gateway;
  });
  // The first `connecting` event is not a disconnect.
  client.connect();
  await client.ready(20_000);
  client.on('connecting', ({ code }) => {
    member.dropped.push(member.gateway);
    member.codes.push(code);
  });
  const subscription = client.newSubscription(group, { minResubscribeDelay: 50, maxResubscribeDelay: 1_000 });
  const log = oracle.subscriber(name, group);
  subscription.on('publication', ({ data }) => log.received(data.n));
  subscription.on('subscribed', ({ wasRecovering, recovered }) => {
    if (!wasRecovering) return;
    member.resumes.push(recovered);
    if (!recovered) log.resynced();
  });
  subscription.subscribe();
  await subscription.ready(20_000);
  return member;
};

const createPublisher = (
  { publicUrl, serverApiKey }: FleetAccess,
  oracle: DeliveryOracle,
  groups: readonly string[],
  { pauseMs }: { pauseMs: number },
) => {
  const refusals: string[] = [];
  let acknowledged = 0;

  const attempt = async (group: string, n: number): Promise<boolean> => {
    const refuse = (reason: string): false => {
      refusals.push(`${new Date().toISOString()} ${group}#${n}: ${reason}`);
      return false;
    };
    try {
      const answer = await fetch(`${publicUrl}/api/publish`, {
        method: 'POST',
        headers: { 'x-api-key': serverApiKey, 'content-type': 'application/json' },
        body: JSON.stringify({ channel: group, data: { n }, idempotency_key: `${group}#${n}` }),
        signal: AbortSignal.timeout(ATTEMPT_TIMEOUT_MS),
      });
      const text = await answer.text();
      return (answer.status === 200 && text.startsWith('{"result"')) || refuse(`${answer.status} ${text}`);
    } catch (error) {
      return refuse(`${error} ${(error as Error).cause ?? ''}`);
    }
  };
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  /** Sequential: each is retried until it is accepted, as by a client that needs the order. */
  const publishTo = async (group: string, isOver: () => boolean): Promise<void> => {
    while (!isOver()) {
      const n = oracle.nextPublication(group);
      while (!(await attempt(group, n))) {
        await pause(RETRY_MS);
      }
      oracle.acknowledged(group, n);
      acknowledged += 1;
      await pause(pauseMs);
    }
  };
  return {
    refusals,
    during: async (work: () => Promise<void>, more = groups.length * 3): Promise<void> => {
      let enough = Number.POSITIVE_INFINITY;
      const publishing = groups.map((group) => publishTo(group, () => acknowledged >= enough));
      try {
        await work();
      } finally {
        enough = acknowledged + more;
        await Promise.all(publishing);
      }
    },
  };
};

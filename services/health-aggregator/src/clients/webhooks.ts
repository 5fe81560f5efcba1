import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { RedisConnections } from '@muster/kit/redis/connection';
import type { Random } from '@muster/kit/runtime';
import { signWebhook } from '@muster/kit/webhook-signature';
import type { IncidentChange } from '../core/incidents.ts';
import { STATUS_PROJECTION } from '../core/status.ts';
import type { AggregatorKeys } from '../stores/redis-keys.ts';

const AT_ONCE = 4;
const TIMEOUT_MS = 5_000;
const FIRST_RETRY_MS = 5_000;
const LONGEST_RETRY_MS = 3_600_000;
const GIVE_UP_MS = 86_400_000;

/** Result of a delivery attempt. */
export type DeliveryResult = 'delivered' | 'retried' | 'dropped';

interface Message extends IncidentChange {
  readonly epoch: number;
  readonly firstAt: number;
  readonly attempts: number;
}

interface WebhooksDeps {
  readonly redis: RedisConnections;
  readonly keys: AggregatorKeys;
  readonly urls: readonly string[];
  readonly secret: string | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly onResult: (channel: number, result: DeliveryResult) => void;
}

/** Body of a notification, with a `text` for chat systems. */
export const webhookBody = ({ kind, incident, epoch }: IncidentChange & { epoch: number }): string => {
  const { subject, severity, updates } = incident;
  const headline = kind === 'closed' ? `${subject}: resolved` : `${subject}: ${STATUS_PROJECTION[severity].text}`;
  const { seen = [], text } = updates.at(-1) ?? {};
  const details = text === undefined ? seen : [text];
  return JSON.stringify({
    type: `incident.${kind}`,
    text: details.length === 0 ? headline : `${headline} (${details.join('; ')})`,
    epoch,
    incident: { ...incident, updates: updates.map(({ madeBy: _, ...update }) => update) },
  });
};

/** Delivers notifications from the queue in Redis, with retries after 5 s to 1 h for a day. The id of a message never changes. */
export const createWebhooks = (deps: WebhooksDeps) => {
  const { redis, keys, urls, clock, random, log, onResult } = deps;
  let running: Promise<void> | undefined;

  const remove = (id: string): Promise<unknown> =>
    redis.retry((lane) => lane.multi().hdel(keys.webhookQueue, id).zrem(keys.webhooksDue, id).exec());

  const deliverOne = async (id: string): Promise<void> => {
    const text = await redis.retry((lane) => lane.hget(keys.webhookQueue, id));
    const channel = Number(id.slice(id.lastIndexOf(':') + 1));
    const url = urls[channel];
    const message = text === null ? undefined : (JSON.parse(text) as Message);
    if (!message || url === undefined) return void (await remove(id));
    if (await post(url, id, message, deps)) {
      await remove(id);
      return onResult(channel, 'delivered');
    }
    const now = clock.now();
    if (now - message.firstAt > GIVE_UP_MS) {
      log.error({ id, channel }, 'webhook.dropped');
      await remove(id);
      return onResult(channel, 'dropped');
    }
    const waitMs = Math.min(FIRST_RETRY_MS * 2 ** message.attempts, LONGEST_RETRY_MS) * (0.8 + 0.4 * random.fraction());
    const next = JSON.stringify({ ...message, attempts: message.attempts + 1 });
    await redis.retry((lane) =>
      lane
        .multi()
        .hset(keys.webhookQueue, id, next)
        .zadd(keys.webhooksDue, now + waitMs, id)
        .exec(),
    );
    onResult(channel, 'retried');
  };
  const deliverDue = async (): Promise<void> => {
    try {
      const ids = await redis.retry((lane) =>
        lane.zrangebyscore(keys.webhooksDue, '-inf', clock.now(), 'LIMIT', 0, AT_ONCE),
      );
      await Promise.all(ids.map(deliverOne));
    } catch (error) {
      log.debug({ error }, 'webhook.queue_unreadable');
    }
  };
  return {
    /** Delivers up to four due messages; call it every second while leading. Never rejects. */
    deliver: (): Promise<void> => {
      running ??= deliverDue().finally(() => {
        running = undefined;
      });
      return running;
    },
  };
};

const post = async (url: string, id: string, message: Message, deps: WebhooksDeps): Promise<boolean> => {
  const body = webhookBody(message);
  const timestampS = Math.floor(deps.clock.now() / 1_000);
  const signature =
    deps.secret === undefined ? {} : { 'webhook-signature': signWebhook(deps.secret, id, timestampS, body) };
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'webhook-id': id,
        'webhook-timestamp': String(timestampS),
        ...signature,
      },
      body,
      redirect: 'error',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
};

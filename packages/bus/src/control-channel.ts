import { randomUUID } from 'node:crypto';
import { after } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { RedisChannels, RedisLink } from '@muster/kit/redis/channels';
import { AppError } from '@muster/protocol/errors';

export interface ControlChannelDeps {
  readonly publisher: () => RedisLink;
  readonly channels: RedisChannels;
  readonly prefix: string;
  readonly log: Logger;
  /** Answers a query; the result must be serializable as JSON. */
  onQuery(query: unknown): Promise<unknown>;
}

/** Request and reply between all replicas: queries and control commands, each of which is acknowledged. */
export interface ControlChannel {
  /** Redis channels to subscribe to. */
  readonly names: readonly string[];
  /** Handles a message of one of these channels. */
  onMessage(channel: string, bytes: Buffer): void;
  /**
   * Resolves with the answers of all replicas, this replica included, or at the timeout with those received.
   * Throws REDIS_UNAVAILABLE when the query cannot be sent.
   */
  query(query: unknown, timeoutMs: number): Promise<unknown[]>;
}

interface Pending {
  readonly answers: unknown[];
  expected: number;
  done(): void;
}

export const createControlChannel = ({
  publisher,
  channels,
  prefix,
  log,
  onQuery,
}: ControlChannelDeps): ControlChannel => {
  const all = `${prefix}control`;
  const own = `${prefix}control:${randomUUID()}`;
  const pending = new Map<string, Pending>();

  const answer = async (id: string, to: string, query: unknown): Promise<void> => {
    const text = JSON.stringify({ id, answer: (await onQuery(query)) ?? null });
    await channels.publish(publisher(), to, text);
  };
  const settle = (request: Pending): void => {
    if (request.expected >= 0 && request.answers.length >= request.expected) request.done();
  };
  const onMessage = (name: string, bytes: Buffer): void => {
    const { id, to, question, answer: received } = JSON.parse(bytes.toString());
    if (name === all) {
      answer(id, to, question).catch((error: unknown) => log.warn({ error }, 'bus.reply_failed'));
      return;
    }
    const request = pending.get(id);
    if (request === undefined) return;
    request.answers.push(received);
    settle(request);
  };
  return {
    names: [all, own],
    onMessage,
    query: async (query, timeoutMs) => {
      const id = randomUUID();
      const finished = Promise.withResolvers<void>();
      const request: Pending = { answers: [], expected: -1, done: finished.resolve };
      pending.set(id, request);
      const stop = after(timeoutMs, finished.resolve);
      try {
        // PUBLISH returns the number of subscribers: as many answers are awaited.
        const text = JSON.stringify({ id, to: own, question: query });
        request.expected = await channels.publish(publisher(), all, text);
        settle(request);
        await finished.promise;
        return request.answers;
      } catch (cause) {
        throw new AppError('REDIS_UNAVAILABLE', { cause });
      } finally {
        stop();
        pending.delete(id);
      }
    },
  };
};

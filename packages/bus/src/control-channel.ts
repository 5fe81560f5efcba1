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
  /** Does what is asked, and answers with something that JSON can say. */
  onQuery(question: unknown): Promise<unknown>;
}

/** Questions and orders to all replicas, which are answered: nobody has to hope that they arrived. */
export interface ControlChannel {
  /** The channels to listen to. */
  readonly names: readonly string[];
  /** Takes what came over one of them. */
  onMessage(channel: string, bytes: Buffer): void;
  /**
   * Resolves with the answers of all replicas, this one included, or of those that answered in time.
   * Throws REDIS_UNAVAILABLE when the question could not be sent.
   */
  ask(question: unknown, timeoutMs: number): Promise<unknown[]>;
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
  const everyone = `${prefix}control`;
  const me = `${prefix}control:${randomUUID()}`;
  const pending = new Map<string, Pending>();

  const answer = async (id: string, to: string, question: unknown): Promise<void> => {
    const text = JSON.stringify({ id, answer: (await onQuery(question)) ?? null });
    await channels.publish(publisher(), to, text);
  };
  const settle = (one: Pending): void => {
    if (one.expected >= 0 && one.answers.length >= one.expected) one.done();
  };
  const onMessage = (name: string, bytes: Buffer): void => {
    const { id, to, question, answer: given } = JSON.parse(bytes.toString());
    if (name === everyone) {
      answer(id, to, question).catch((error: unknown) => log.warn({ error }, 'bus.reply_failed'));
      return;
    }
    const one = pending.get(id);
    if (one === undefined) return;
    one.answers.push(given);
    settle(one);
  };
  return {
    names: [everyone, me],
    onMessage,
    ask: async (question, timeoutMs) => {
      const id = randomUUID();
      const finished = Promise.withResolvers<void>();
      const one: Pending = { answers: [], expected: -1, done: finished.resolve };
      pending.set(id, one);
      const stop = after(timeoutMs, finished.resolve);
      try {
        // Redis counts who listens; so many answers are awaited.
        const text = JSON.stringify({ id, to: me, question });
        one.expected = await channels.publish(publisher(), everyone, text);
        settle(one);
        await finished.promise;
        return one.answers;
      } catch (cause) {
        throw new AppError('REDIS_UNAVAILABLE', { cause });
      } finally {
        stop();
        pending.delete(id);
      }
    },
  };
};

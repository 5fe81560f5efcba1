import { randomUUID } from 'node:crypto';
import { after } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { AppError } from '@muster/protocol/errors';
import type { Redis } from 'ioredis';

export interface ControlDeps {
  /** The connection that listens. */
  readonly subscriber: Redis;
  readonly publisher: () => Redis;
  readonly prefix: string;
  readonly log: Logger;
  /** Does what is asked, and answers with something that JSON can say. */
  onAsk(question: unknown): Promise<unknown>;
}

/** Questions and orders to all replicas, which are answered: nobody has to hope that they arrived. */
export interface Control extends Disposable {
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

export const createControl = ({ subscriber, publisher, prefix, log, onAsk }: ControlDeps): Control => {
  const everyone = `${prefix}control`;
  const me = `${prefix}control:${randomUUID()}`;
  const pending = new Map<string, Pending>();

  const answer = async (id: string, to: string, question: unknown): Promise<void> => {
    const text = JSON.stringify({ id, answer: (await onAsk(question)) ?? null });
    await publisher().publish(to, text);
  };
  const settle = (one: Pending): void => {
    if (one.expected >= 0 && one.answers.length >= one.expected) one.done();
  };
  const onMessage = (channel: Buffer, bytes: Buffer): void => {
    const name = channel.toString();
    if (name !== everyone && name !== me) return;
    const { id, to, question, answer: given } = JSON.parse(bytes.toString());
    if (name === everyone) {
      answer(id, to, question).catch((error: unknown) => log.warn({ error }, 'bus.answer_failed'));
      return;
    }
    const one = pending.get(id);
    if (one === undefined) return;
    one.answers.push(given);
    settle(one);
  };
  const onReady = (): void => {
    subscriber.subscribe(everyone, me).catch(() => {});
  };
  subscriber.on('messageBuffer', onMessage).on('ready', onReady);
  if (subscriber.status === 'ready') onReady();

  return {
    ask: async (question, timeoutMs) => {
      const id = randomUUID();
      const finished = Promise.withResolvers<void>();
      const one: Pending = { answers: [], expected: -1, done: finished.resolve };
      pending.set(id, one);
      const stop = after(timeoutMs, finished.resolve);
      try {
        // Redis counts who listens; so many answers are awaited.
        one.expected = await publisher().publish(everyone, JSON.stringify({ id, to: me, question }));
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
    [Symbol.dispose]: () => {
      subscriber.off('messageBuffer', onMessage).off('ready', onReady);
    },
  };
};

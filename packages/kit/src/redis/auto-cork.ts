import type { Redis } from 'ioredis';
import { flushAtEndOfTurn } from '../end-of-turn.ts';

/**
 * Batches the commands of one turn of the event loop into one write. A write is a system call on both sides, which under load is most of
 * the cost of a command. Commands keep their order and wait for the rest of the turn at most.
 */
export const autoCork = (redis: Redis): void => {
  const send = redis.sendCommand.bind(redis);
  let corked: Pick<Redis['stream'], 'cork' | 'uncork'> | undefined;
  const uncork = {
    flush: (): void => {
      const stream = corked;
      corked = undefined;
      stream?.uncork();
    },
  };
  redis.sendCommand = (command, stream) => {
    if (corked === undefined && redis.status === 'ready') {
      corked = redis.stream;
      corked.cork();
      flushAtEndOfTurn('redis_write', uncork);
    }
    return send(command, stream);
  };
};

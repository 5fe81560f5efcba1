import type { Redis } from 'ioredis';

/**
 * Gathers the commands of one turn of the event loop into one write. Every write wakes the server up, and is a system
 * call on either side: under load this is most of what a command costs. Commands keep their order, and wait for no
 * longer than the turn takes.
 */
export const autoCork = (redis: Redis): void => {
  const send = redis.sendCommand.bind(redis);
  let corked: Pick<Redis['stream'], 'cork' | 'uncork'> | undefined;
  const uncork = (): void => {
    const stream = corked;
    corked = undefined;
    stream?.uncork();
  };
  redis.sendCommand = (command, stream) => {
    if (corked === undefined && redis.status === 'ready') {
      corked = redis.stream;
      corked.cork();
      setImmediate(uncork);
    }
    return send(command, stream);
  };
};

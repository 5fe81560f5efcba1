import type { RedisLink } from '@muster/kit/redis/channels';
import { isUnknownScript, loadScripts, type RedisScript, reloadScript } from './redis-scripts.ts';

type Value = string | number | Buffer;

/** A call that Redis has not answered. */
interface Call {
  readonly script: RedisScript;
  readonly keys: readonly string[];
  readonly args: readonly Value[];
  readonly tries: number;
  resolve(answer: unknown): void;
  reject(error: unknown): void;
}

/** The calls on one connection. */
interface CallQueue {
  inFlight: number;
  /** Calls that failed with NOSCRIPT and the calls after them, in order; undefined while there is none. */
  retries: { readonly failed: Call[]; readonly later: Call[] } | undefined;
}

const MAX_TRIES = 5;
const queues = new WeakMap<RedisLink, CallQueue>();

/**
 * Runs a script by its digest, in the order of the calls. On NOSCRIPT, later calls are queued until all sent calls are
 * answered; then the failed and the queued calls are sent in their order.
 */
export const runInOrder = (
  lane: RedisLink,
  script: RedisScript,
  keys: readonly string[],
  args: readonly Value[],
): Promise<unknown> => {
  let queue = queues.get(lane);
  if (queue === undefined) {
    queue = { inFlight: 0, retries: undefined };
    queues.set(lane, queue);
  }
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const call: Call = { script, keys, args, tries: 1, resolve, reject };
  if (queue.retries === undefined) send(lane, queue, call);
  else queue.retries.later.push(call);
  return promise;
};

const send = (lane: RedisLink, queue: CallQueue, call: Call): void => {
  const { script, keys, args } = call;
  queue.inFlight += 1;
  loadScripts(lane, script);
  lane.evalsha(script.sha, keys.length, ...keys, ...args).then(
    (answer) => {
      call.resolve(answer);
      settle(lane, queue);
    },
    (error: unknown) => {
      if (isUnknownScript(error) && call.tries < MAX_TRIES) {
        queue.retries ??= { failed: [], later: [] };
        queue.retries.failed.push({ ...call, tries: call.tries + 1 });
      } else call.reject(error);
      settle(lane, queue);
    },
  );
};

const settle = (lane: RedisLink, queue: CallQueue): void => {
  queue.inFlight -= 1;
  const { retries } = queue;
  if (retries === undefined || queue.inFlight > 0) return;
  queue.retries = undefined;
  for (const call of [...retries.failed, ...retries.later]) {
    if (queue.inFlight === 0) reloadScript(lane, call.script);
    send(lane, queue, call);
  }
};

import type { RedisLink } from '@muster/kit/redis/channels';
import { isUnknownScript, loadScripts, type RedisScript, reloadScript } from './redis-scripts.ts';

type Value = string | number | Buffer;

/** A call that Redis has not done. */
interface Call {
  readonly script: RedisScript;
  readonly keys: readonly string[];
  readonly args: readonly Value[];
  readonly tries: number;
  resolve(answer: unknown): void;
  reject(error: unknown): void;
}

/** The calls on one lane. */
interface Line {
  inFlight: number;
  /** Calls that met an unknown script, in their order, and those that came after them; undefined while all is well. */
  undone: { readonly failed: Call[]; readonly later: Call[] } | undefined;
}

const MAX_TRIES = 5;
const lines = new WeakMap<RedisLink, Line>();

/**
 * Runs a script by its digest, in the order of the calls. When Redis has forgotten the script, calls that were sent fail and
 * later ones wait: once all that were sent are answered, they are done again in their order.
 */
export const runInOrder = (
  lane: RedisLink,
  script: RedisScript,
  keys: readonly string[],
  args: readonly Value[],
): Promise<unknown> => {
  let line = lines.get(lane);
  if (line === undefined) {
    line = { inFlight: 0, undone: undefined };
    lines.set(lane, line);
  }
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const call: Call = { script, keys, args, tries: 1, resolve, reject };
  if (line.undone === undefined) send(lane, line, call);
  else line.undone.later.push(call);
  return promise;
};

const send = (lane: RedisLink, line: Line, call: Call): void => {
  const { script, keys, args } = call;
  line.inFlight += 1;
  loadScripts(lane, script);
  lane.evalsha(script.sha, keys.length, ...keys, ...args).then(
    (answer) => {
      call.resolve(answer);
      settle(lane, line);
    },
    (error: unknown) => {
      if (isUnknownScript(error) && call.tries < MAX_TRIES) {
        line.undone ??= { failed: [], later: [] };
        line.undone.failed.push({ ...call, tries: call.tries + 1 });
      } else call.reject(error);
      settle(lane, line);
    },
  );
};

const settle = (lane: RedisLink, line: Line): void => {
  line.inFlight -= 1;
  const { undone } = line;
  if (undone === undefined || line.inFlight > 0) return;
  line.undone = undefined;
  for (const call of [...undone.failed, ...undone.later]) {
    if (line.inFlight === 0) reloadScript(lane, call.script);
    send(lane, line, call);
  }
};

import type { Clock } from '@muster/kit/clock';
import type { MaybePromise } from '../core/maybe-promise.ts';
import type { AuthenticationResult } from '../core/ports.ts';
import type { Authenticator } from './authenticator.ts';

export interface HandshakeQueueDeps {
  readonly authenticator: Authenticator;
  readonly clock: Clock;
  /** Credentials checked at the same time. */
  readonly concurrency: number;
  /** Longest queue. */
  readonly maxWaiting: number;
  /** Called when a queued check starts, with its time in the queue. */
  onWaited(seconds: number): void;
  /** Called when a check is rejected: the queue is full, or the check has waited longer than {@link MAX_WAIT_MS}. */
  onRefused(): void;
}

export type HandshakeQueue = ReturnType<typeof createHandshakeQueue>;

/** SDKs time out `connect` after five seconds; a later check has no client. */
const MAX_WAIT_MS = 5_000;
const LONGEST_RETRY_S = 30;
/** Weight of one check in the average of their durations. */
const WEIGHT = 0.1;
const INITIAL_MEAN_MS = 5;

interface Waiting {
  readonly since: number;
  readonly isGone: () => boolean;
  start(): void;
  refuse(): void;
}

/**
 * A bounded FIFO queue in front of an authenticator: a storm of clients is served at the pace of the stores. A check that needs no
 * store takes no slot.
 */
export const createHandshakeQueue = (deps: HandshakeQueueDeps) => {
  const { authenticator, clock, concurrency } = deps;
  /** Entries before index `next` are done. */
  let queue: Waiting[] = [];
  let next = 0;
  let active = 0;
  let meanMs = INITIAL_MEAN_MS;

  const waiting = (): number => queue.length - next;
  const waitMs = (): number => (waiting() * meanMs) / concurrency;
  /** True when a further check would be rejected. */
  const isFull = (): boolean => waiting() >= deps.maxWaiting || waitMs() > MAX_WAIT_MS;

  const shift = (): Waiting | undefined => {
    const first = queue[next];
    next += 1;
    if (next * 2 > queue.length) {
      queue = queue.slice(next);
      next = 0;
    }
    return first;
  };
  const startNext = (): void => {
    while (active < concurrency && waiting() > 0) {
      const first = shift();
      if (first === undefined) return;
      const waitedMs = clock.monotonic() - first.since;
      if (first.isGone() || waitedMs > MAX_WAIT_MS) first.refuse();
      else {
        deps.onWaited(waitedMs / 1000);
        first.start();
      }
    }
  };

  const run = (work: () => MaybePromise<AuthenticationResult>): MaybePromise<AuthenticationResult> => {
    const startedAt = clock.monotonic();
    const result = work();
    if (!(result instanceof Promise)) return result;
    active += 1;
    return result.finally(() => {
      active -= 1;
      meanMs += (clock.monotonic() - startedAt - meanMs) * WEIGHT;
      startNext();
    });
  };
  const refuse = (): AuthenticationResult => {
    deps.onRefused();
    return { ok: false, why: 'unavailable' };
  };

  const authenticate: Authenticator['authenticate'] = (credential, holder) => {
    const work = () => authenticator.authenticate(credential, holder);
    if (active < concurrency && waiting() === 0) return run(work);
    if (isFull()) return refuse();
    return new Promise((resolve) => {
      queue.push({
        since: clock.monotonic(),
        isGone: () => holder.isClosed === true,
        start: () => resolve(run(work)),
        refuse: () => resolve(refuse()),
      });
    });
  };

  return {
    waiting,
    isFull,
    /** Estimated wait of a new check in seconds, from the mean duration of recent checks; 1 to 30. */
    retryAfterS: (): number => Math.min(LONGEST_RETRY_S, Math.max(1, Math.ceil(waitMs() / 1000))),
    authenticator: { ...authenticator, authenticate },
  };
};

import type { Clock } from '@muster/kit/clock';
import type { AuthenticationResult } from '../core/ports.ts';
import type { Authenticator } from './authenticator.ts';

export interface HandshakeQueueDeps {
  readonly gate: Authenticator;
  readonly clock: Clock;
  /** Checks of credentials at the same time. */
  readonly concurrency: number;
  /** Checks that may wait for their turn. */
  readonly maxWaiting: number;
  /** A check that waited for its turn. */
  onWaited(seconds: number): void;
  /** A check that was refused, because too many were waiting or it had waited too long. */
  onRefused(): void;
}

/** A gate with a bounded queue before it, in the order of arrival: a storm of clients is served at the pace of the stores. */
export interface HandshakeQueue {
  readonly gate: Authenticator;
  /** Checks that wait. */
  waiting(): number;
  /** Whether one more would be refused. */
  isFull(): boolean;
  /** Seconds until a client that comes now would be served, from how long checks have taken lately; 1 to 30. */
  retryAfterS(): number;
}

/** SDKs give up on `connect` after five seconds; a check that comes later is done for nobody. */
const MAX_WAIT_MS = 5_000;
const LONGEST_RETRY_S = 30;
/** Weight of one check in the average of their durations. */
const WEIGHT = 0.1;
const FIRST_GUESS_MS = 5;

interface Waiting {
  readonly since: number;
  readonly isGone: () => boolean;
  start(): void;
  refuse(): void;
}

export const createHandshakeQueue = (deps: HandshakeQueueDeps): HandshakeQueue => {
  const { gate, clock, concurrency } = deps;
  /** The first `next` have been served. */
  let queue: Waiting[] = [];
  let next = 0;
  let active = 0;
  let meanMs = FIRST_GUESS_MS;

  const waiting = (): number => queue.length - next;
  const waitMs = (): number => (waiting() * meanMs) / concurrency;
  const isFull = (): boolean => waiting() >= deps.maxWaiting || waitMs() > MAX_WAIT_MS;

  const take = (): Waiting | undefined => {
    const first = queue[next];
    next += 1;
    if (next * 2 > queue.length) {
      queue = queue.slice(next);
      next = 0;
    }
    return first;
  };
  const proceed = (): void => {
    while (active < concurrency && waiting() > 0) {
      const first = take();
      if (first === undefined) return;
      const waitedMs = clock.monotonic() - first.since;
      if (first.isGone() || waitedMs > MAX_WAIT_MS) first.refuse();
      else {
        deps.onWaited(waitedMs / 1000);
        first.start();
      }
    }
  };

  const run = async (work: () => Promise<AuthenticationResult>): Promise<AuthenticationResult> => {
    active += 1;
    const begun = clock.monotonic();
    try {
      return await work();
    } finally {
      active -= 1;
      meanMs += (clock.monotonic() - begun - meanMs) * WEIGHT;
      proceed();
    }
  };
  const refuse = (): AuthenticationResult => {
    deps.onRefused();
    return { ok: false, why: 'unavailable' };
  };

  return {
    waiting,
    isFull,
    retryAfterS: () => Math.min(LONGEST_RETRY_S, Math.max(1, Math.ceil(waitMs() / 1000))),
    gate: {
      ...gate,
      admit: async (shown, holder) => {
        const work = () => gate.admit(shown, holder);
        if (active < concurrency && waiting() === 0) return run(work);
        if (isFull()) return refuse();
        return new Promise((resolve, reject) => {
          queue.push({
            since: clock.monotonic(),
            isGone: () => holder.isOver === true,
            start: () => void run(work).then(resolve, reject),
            refuse: () => resolve(refuse()),
          });
        });
      },
    },
  };
};

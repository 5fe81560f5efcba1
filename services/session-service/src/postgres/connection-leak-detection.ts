import { every } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';

/** A connection that is checked out of the pool. */
interface Checkout {
  readonly since: number;
  readonly trace: { readonly stack?: string };
  readonly cut: () => void;
  isReported: boolean;
}

interface LeakDetectorOptions {
  readonly log: Logger;
  readonly onLeak: () => void;
  /** Age at which a checkout is reported, in ms; default 10,000. */
  readonly warnMs?: number | undefined;
  /** Age at which a checkout is cut, in ms; default 60,000. */
  readonly cutMs?: number | undefined;
}

const WARN_MS = 10_000;
const CUT_MS = 60_000;
const OWN_FRAMES = /leak-detection\.ts:|postgres\/pool\.ts|node:internal|node_modules/;

/** Checks once a second how long connections have been checked out; a leak is reported with the code that holds it. */
export const createLeakDetector = ({ log, onLeak, warnMs = WARN_MS, cutMs = CUT_MS }: LeakDetectorOptions) => {
  const checkouts = new Set<Checkout>();
  const checkAges = (): void => {
    const now = performance.now();
    for (const checkout of checkouts) {
      const ageMs = now - checkout.since;
      if (ageMs > warnMs && !checkout.isReported) {
        checkout.isReported = true;
        onLeak();
        log.warn({ ageMs: Math.round(ageMs), holder: holderOf(checkout) }, 'postgres.connection_held');
      }
      if (ageMs > cutMs) {
        checkouts.delete(checkout);
        log.error({ ageMs: Math.round(ageMs), holder: holderOf(checkout) }, 'postgres.connection_cut');
        checkout.cut();
      }
    }
  };
  const stop = every(Math.min(1_000, warnMs), checkAges);
  return {
    /** Starts the age of a checkout; `cut` terminates its connection. Call the result when it is released. */
    track: (cut: () => void): (() => void) => {
      const trace: { stack?: string } = {};
      // V8 formats the stack only when it is read.
      Error.captureStackTrace(trace);
      const checkout: Checkout = { since: performance.now(), trace, cut, isReported: false };
      checkouts.add(checkout);
      return () => void checkouts.delete(checkout);
    },
    /** The oldest checkout: its age in ms, and the code that holds it. */
    oldest: (): { readonly ageMs: number; readonly holder: string } | undefined => {
      const [first] = checkouts; // A set iterates in the order of insertion.
      return first && { ageMs: Math.round(performance.now() - first.since), holder: holderOf(first) };
    },
    [Symbol.dispose]: stop,
  };
};

/** The frames of the caller, without those of the pool. */
const holderOf = ({ trace }: Checkout): string =>
  (trace.stack ?? '')
    .split('\n')
    .slice(1)
    .filter((line) => !OWN_FRAMES.test(line))
    .map((line) => line.trim().replace(/^at /, ''))
    .slice(0, 5)
    .join(' < ') || 'unknown';

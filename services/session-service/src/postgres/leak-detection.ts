import { every, type Stop } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';

/** A connection in somebody's hands. */
export interface Checkout {
  /** Call it when the connection goes back. */
  release(): void;
}

/** Who holds which connection, and for how long: a leak is found by the place in the code that took it. */
export interface LeakDetector extends Disposable {
  /** `cut` ends the connection, when it was held far too long. */
  track(cut: () => void): Checkout;
  /** The longest held one: its age in ms, and where it was taken. */
  oldest(): { readonly ageMs: number; readonly holder: string } | undefined;
}

interface Checkout {
  readonly since: number;
  readonly trace: { readonly stack?: string };
  readonly cut: () => void;
  isReported: boolean;
}

interface LeakDetectorOptions {
  readonly log: Logger;
  readonly onLeak: () => void;
  /** Reported after this many ms; default 10,000. */
  readonly warnMs?: number;
  /** Cut after this many ms; default 60,000. */
  readonly cutMs?: number;
}

const WARN_MS = 10_000;
const CUT_MS = 60_000;
const OWN_FRAMES = /leak-detection\.ts:|postgres\/pool\.ts|node:internal|node_modules/;

/** Looks at what is held once in a second. */
export const createLeakDetector = ({
  log,
  onLeak,
  warnMs = WARN_MS,
  cutMs = CUT_MS,
}: LeakDetectorOptions): LeakDetector => {
  const held = new Set<Checkout>();
  const look = (): void => {
    const now = performance.now();
    for (const one of held) {
      const ageMs = now - one.since;
      if (ageMs > warnMs && !one.isReported) {
        one.isReported = true;
        onLeak();
        log.warn({ ageMs: Math.round(ageMs), holder: holderOf(one) }, 'postgres.connection_held');
      }
      if (ageMs > cutMs) {
        held.delete(one);
        log.error({ ageMs: Math.round(ageMs), holder: holderOf(one) }, 'postgres.connection_cut');
        one.cut();
      }
    }
  };
  const stop: Stop = every(Math.min(1_000, warnMs), look);
  return {
    track: (cut) => {
      const trace: { stack?: string } = {};
      // Formatted only when somebody looks at it.
      Error.captureStackTrace(trace);
      const one: Checkout = { since: performance.now(), trace, cut, isReported: false };
      held.add(one);
      return { release: () => void held.delete(one) };
    },
    oldest: () => {
      const [first] = held; // A set keeps its order, and everything is put in as it is taken.
      return first && { ageMs: Math.round(performance.now() - first.since), holder: holderOf(first) };
    },
    [Symbol.dispose]: stop,
  };
};

/** The frames of the application, without ours. */
const holderOf = ({ trace }: Checkout): string =>
  (trace.stack ?? '')
    .split('\n')
    .slice(1)
    .filter((line) => !OWN_FRAMES.test(line))
    .map((line) => line.trim().replace(/^at /, ''))
    .slice(0, 5)
    .join(' < ') || 'unknown';

import type { Bus } from '@muster/bus/bus';
import { after, type Clock } from '@muster/kit/clock';
import type { LocalGroup } from './group.ts';
import type { StreamFollower } from './stream-follower.ts';

/** Finds groups that missed something without hearing a later publication. */
export interface PositionCheck {
  /** Resolves when every group that was behind has been repaired, or could not be. */
  audit(): Promise<void>;
  /** Reads the streams that could not be read again, soon and until that succeeds. */
  retrySoon(): void;
}

/** A publication may be on its way for so long before its group counts as behind. */
const PATIENCE_MS = 100;
/** Streams that could not be read are read again after this time, after twice as long each time that fails, up to the second. */
const RETRY_MS = 100;
const MAX_RETRY_MS = 2_000;

/** Compares all positions with the ends of the streams, in a few pipelines. One audit at a time. */
export const createPositionCheck = ({
  bus,
  groups,
  clock,
}: {
  readonly clock: Clock;
  readonly bus: Pick<Bus, 'tops' | 'isUp'>;
  readonly groups: () => Iterable<LocalGroup>;
}): PositionCheck => {
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;

  const audit = async (): Promise<void> => {
    const followed = [...groups()].flatMap(({ key, follower }) => (follower ? [{ key, follower }] : []));
    if (followed.length === 0) return;
    if (bus.isUp()) {
      const doubtful = followed.filter(({ follower }) => follower.isDoubtful);
      await Promise.allSettled(doubtful.map(({ follower }) => follower.verify()));
    }
    const tops = await bus.tops(
      followed.map(({ key, follower }) => ({ group: key, keepMs: follower.keepMs(clock.monotonic()) })),
    );
    const behind = followed.filter(({ follower }, index) => follower.isBehind(tops[index]));
    if (behind.length === 0) return;
    const before = behind.map(({ follower }) => follower.position.offset);
    await new Promise<void>((resolve) => void after(PATIENCE_MS, resolve));
    const stuck = behind.filter(({ follower }, index) => isStuck(follower, before[index]));
    await Promise.allSettled(stuck.map(({ follower }) => follower.repair()));
  };
  const retrySoon = createRetry(groups);
  return {
    retrySoon,
    audit: () => {
      // One that has begun already may have looked at what is asked for now too early.
      next ??= (running ?? Promise.resolve())
        .catch(() => {})
        .then(() => {
          next = undefined;
          running = audit().finally(() => {
            running = undefined;
          });
          return running;
        });
      return next;
    },
  };
};

const createRetry = (groups: () => Iterable<LocalGroup>): (() => void) => {
  let pauseMs = RETRY_MS;
  let isWaiting = false;
  const stalled = () => [...groups()].flatMap(({ follower }) => (follower?.isStalled ? [follower] : []));

  const retry = async (): Promise<void> => {
    const [first, ...others] = stalled();
    // One of them finds out whether the store answers again.
    const isBack = await first?.repair().then(
      () => true,
      () => false,
    );
    if (isBack) await Promise.allSettled(others.map((follower) => follower.repair()));
    isWaiting = false;
    const isOver = stalled().length === 0;
    pauseMs = isOver ? RETRY_MS : Math.min(2 * pauseMs, MAX_RETRY_MS);
    if (!isOver) wait();
  };
  const wait = (): void => {
    if (isWaiting) return;
    isWaiting = true;
    after(pauseMs, () => void retry());
  };
  return wait;
};

/** Whoever advances by itself is not behind but busy. */
const isStuck = (follower: StreamFollower, before: number | undefined): boolean =>
  !follower.isCurrent || follower.position.offset === before;

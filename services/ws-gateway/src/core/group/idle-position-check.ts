import type { Bus } from '@muster/bus/bus';
import type { GroupKey } from '@muster/bus/group-key';
import { after, type Clock } from '@muster/kit/clock';
import type { GroupRegistry } from './group-registry.ts';
import type { StreamFollower } from './stream-follower.ts';

/** Longest delay of a publication on the bus before its group counts as behind. */
const ARRIVAL_MS = 100;
/** Delay of the first retry of stalled streams; doubled after each failure. */
const RETRY_MS = 100;
const MAX_RETRY_MS = 2_000;

export interface PositionCheckDeps {
  readonly clock: Clock;
  readonly bus: Pick<Bus, 'tops' | 'isUp'>;
  readonly registry: Pick<GroupRegistry, 'all' | 'followers'>;
}

/**
 * Finds groups that missed a publication and receive no later one: compares all positions with the ends of the streams, in a few
 * commands that return differences only. One run at a time.
 */
export const createIdlePositionCheck = ({ bus, registry, clock }: PositionCheckDeps) => {
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;

  const checkAll = async (): Promise<void> => {
    const followed: { readonly key: GroupKey; readonly follower: StreamFollower }[] = [];
    for (const { key, follower } of registry.all()) if (follower !== undefined) followed.push({ key, follower });
    if (followed.length === 0) return;
    if (bus.isUp()) {
      const unverified = followed.filter(({ follower }) => follower.isUnverified);
      await Promise.allSettled(unverified.map(({ follower }) => follower.verify()));
    }
    const tops = await bus.tops(
      followed.map(({ key, follower }) => ({
        group: key,
        known: follower.position,
        keepMs: follower.extensionMs(clock.monotonic()),
      })),
    );
    const behind = followed.filter(({ follower }, index) => follower.isBehind(tops[index]));
    if (behind.length === 0) return;
    const before = behind.map(({ follower }) => follower.position.offset);
    await new Promise<void>((resolve) => void after(ARRIVAL_MS, resolve));
    // A follower that advances is busy, not behind.
    const stuck = behind.filter(({ follower: one }, at) => !one.isCurrent || one.position.offset === before[at]);
    await Promise.allSettled(stuck.map(({ follower }) => follower.repair()));
  };

  return {
    /** Repairs stalled followers soon, and again until their streams can be read. */
    retrySoon: createRetry(registry),
    /** Resolves when every group that was behind has been repaired, or its repair has failed. */
    run: (): Promise<void> => {
      // A run that has started may have read too early: a further one follows it.
      next ??= (running ?? Promise.resolve())
        .catch(() => {})
        .then(() => {
          next = undefined;
          running = checkAll().finally(() => {
            running = undefined;
          });
          return running;
        });
      return next;
    },
  };
};

const createRetry = ({ followers }: Pick<GroupRegistry, 'followers'>): (() => void) => {
  let pauseMs = RETRY_MS;
  let isWaiting = false;
  const stalled = () => [...followers()].filter(({ isStalled }) => isStalled);

  const retry = async (): Promise<void> => {
    const [first, ...others] = stalled();
    // One repair probes the store before all are tried.
    const isBack = await first?.repair().then(
      () => true,
      () => false,
    );
    if (isBack) await Promise.allSettled(others.map((follower) => follower.repair()));
    isWaiting = false;
    const isDone = stalled().length === 0;
    pauseMs = isDone ? RETRY_MS : Math.min(2 * pauseMs, MAX_RETRY_MS);
    if (!isDone) wait();
  };
  const wait = (): void => {
    if (isWaiting) return;
    isWaiting = true;
    after(pauseMs, () => void retry());
  };
  return wait;
};

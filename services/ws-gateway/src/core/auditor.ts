import type { Bus } from '@muster/bus/bus';
import { after, type Clock } from '@muster/kit/clock';
import type { Follower } from './follower.ts';
import type { Group } from './group.ts';

/** Finds groups that missed something without hearing a later publication. */
export interface Auditor {
  /** Resolves when every group that was behind has been repaired, or could not be. */
  audit(): Promise<void>;
}

/** A publication may be on its way for so long before its group counts as behind. */
const PATIENCE_MS = 100;

/** Compares all positions with the ends of the streams, in a few pipelines. One audit at a time. */
export const createAuditor = ({
  bus,
  groups,
  clock,
}: {
  readonly clock: Clock;
  readonly bus: Pick<Bus, 'tops' | 'isUp'>;
  readonly groups: () => Iterable<Group>;
}): Auditor => {
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
  return {
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

/** Whoever advances by itself is not behind but busy. */
const isStuck = (follower: Follower, before: number | undefined): boolean =>
  !follower.isCurrent || follower.position.offset === before;

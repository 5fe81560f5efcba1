import { test } from 'vitest';
import { startDedicatedFleet } from './dedicated-fleet.ts';
import { assertRollout, LAUNCHER_DRAIN } from './rollout-workload.ts';

test('[RO1] muster rollout replaces a fleet in use: no publication is refused or lost, and clients reconnect twice at most', async () => {
  await using fleet = await startDedicatedFleet(LAUNCHER_DRAIN, 2, 2, 2);
  await assertRollout(fleet, { subscribers: 20, groups: 2, publicationsPerSecond: 20 }, 'rollout --settle 2');
}, 480_000);

import { test } from 'vitest';
import { startDedicatedFleet } from '../cluster/dedicated-fleet.ts';
import { assertRollout, LAUNCHER_DRAIN } from '../cluster/rollout-workload.ts';

test('[RO1] muster rollout replaces a fleet in use: no publication is refused or lost, and clients reconnect twice at most', async () => {
  await using fleet = await startDedicatedFleet(LAUNCHER_DRAIN, 3, 2, 2);
  await assertRollout(fleet, { subscribers: 200, groups: 4, publicationsPerSecond: 20 });
}, 600_000);

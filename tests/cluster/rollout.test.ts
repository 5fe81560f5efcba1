import { test } from 'vitest';
import { startDedicatedFleet } from './dedicated-fleet.ts';
import { assertRollout } from './rollout-workload.ts';

/** The launcher's own time for the load balancer to notice. */
const DRAIN = { DRAIN_ACCEPT_MS: '1000', DRAIN_DELAY_MS: '1000' };

test('[RL1] muster rollout replaces a fleet in use: no publication is refused or lost, and clients reconnect twice at most', async () => {
  await using fleet = await startDedicatedFleet(DRAIN, 2, 2, 2);
  await assertRollout(fleet, { subscribers: 20, groups: 2, publicationsPerSecond: 20 });
}, 300_000);

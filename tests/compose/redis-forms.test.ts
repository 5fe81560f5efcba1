import { dockerAnswers } from '@muster/testkit/docker';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ComposeFleet, startComposeFleet } from './compose.ts';
import { startTraffic } from './traffic.ts';

const log = (line: string): void => void process.stdout.write(`compose: ${line}\n`);
/** Faults of delivery that a failover MUST NOT cause. Publications that were not replicated are lost, but announced as a gap. */
const NO_FAULTS = { missing: [], duplicates: [], misordered: [], unexpected: [] };
const FAILED_OVER_WITHIN_MS = 60_000;

const hasEngine = await dockerAnswers(process.env);
if (!hasEngine) log('SKIPPED: no Docker engine answers, and no form of Redis has been tested in containers');

describe.skipIf(!hasEngine)('on a Redis with sentinels', () => {
  let fleet: ComposeFleet;
  beforeAll(async () => {
    fleet = await startComposeFleet(log, { envFile: 'sentinel.env' });
  });
  afterAll(() => fleet?.[Symbol.asyncDispose]());

  test('[FC13] when the primary is killed, a replica is promoted, connections stay, and publishing continues', async () => {
    await using traffic = await startTraffic(fleet, 3);
    const before = traffic.clients.map((client) => client.gateway());
    await traffic.more(20);
    const [primary = ''] = await fleet.containersOf('redis');
    const startedAt = performance.now();
    await fleet.docker('kill', primary);
    await until(async () => fleet.compose('exec', '-T', 'redis-sentinel-1', ...ASK_SENTINEL), {
      ok: (answer) => /redis-replica-\d/.test(answer),
      what: 'another primary',
      timeoutMs: FAILED_OVER_WITHIN_MS,
      intervalMs: 250,
    });
    await traffic.more(20);
    log(`publications went on after ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
    await fleet.docker('start', primary);
    await fleet.untilHealthy();
    expect(await traffic.finish()).toMatchObject(NO_FAULTS);
    expect(traffic.clients.map((client) => client.gateway())).toEqual(before);
  });
});

describe.skipIf(!hasEngine)('on a Redis Cluster', () => {
  let fleet: ComposeFleet;
  beforeAll(async () => {
    fleet = await startComposeFleet(log, { envFile: 'cluster.env' });
  });
  afterAll(() => fleet?.[Symbol.asyncDispose]());

  test('[FC14] when a node is killed, its replica is promoted and publishing continues', async () => {
    await using traffic = await startTraffic(fleet, 3);
    await traffic.more(20);
    const [node = ''] = await fleet.containersOf('redis-cluster-1');
    const startedAt = performance.now();
    await fleet.docker('kill', node);
    await until(async () => fleet.compose('exec', '-T', 'redis-cluster-2', 'redis-cli', 'cluster', 'info'), {
      ok: (info) => info.includes('cluster_state:ok') && info.includes('cluster_slots_fail:0'),
      what: 'the cluster to be whole',
      timeoutMs: FAILED_OVER_WITHIN_MS,
      intervalMs: 250,
    });
    await traffic.more(40);
    log(`publications went on after ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
    await fleet.docker('start', node);
    await fleet.untilHealthy();
    expect(await traffic.finish()).toMatchObject(NO_FAULTS);
  });
});

const ASK_SENTINEL = ['redis-cli', '-p', '26379', 'sentinel', 'get-master-addr-by-name', 'muster'];

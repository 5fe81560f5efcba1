import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { expect, test } from 'vitest';
import { startAggregator, startTiny, type TestAggregator } from './fixture.ts';

const stores = useTestStores();
let serial = 0;
/** Every test has a registry of its own. */
const own = () => {
  serial += 1;
  return { redisUrl: stores.redisUrl, redisPrefix: `${stores.redisPrefix}${serial}:` };
};
const untilState = (aggregator: TestAggregator, name: string, state: string | undefined, timeoutMs = 5_000) =>
  until(async () => ({ state: await aggregator.stateOf(name) }), {
    what: `${name} to be ${state}`,
    ok: (seen) => seen.state === state,
    timeoutMs,
  });

test('[FH4] [FH12] when a process is killed with SIGKILL, it is not up within 5 s, and its next incarnation replaces it at once', async () => {
  const mine = own();
  await using aggregator = await startAggregator(mine);
  await using first = await startTiny(mine);
  await untilState(aggregator, 'tiny-1', 'up');
  const killedAt = performance.now();
  first.kill('SIGKILL');
  await until(async () => (await aggregator.stateOf('tiny-1')) !== 'up', {
    what: 'the loss',
    timeoutMs: 5_000,
  });
  await untilState(aggregator, 'tiny-1', 'down', 5_000);
  expect(performance.now() - killedAt).toBeLessThan(5_000);
  const { body, status } = await aggregator.request('/health');
  expect(status).toBe(503);
  expect(body.checks.tiny).toMatchObject({ status: 'unhealthy', up: 0 });

  await using _second = await startTiny(mine, { PORT: String(first.port), OPS_PORT: String(first.opsPort) });
  await untilState(aggregator, 'tiny-1', 'up');
  const fleet = await aggregator.request('/v1/fleet');
  const tiny = fleet.body.services.find((one: { service: string }) => one.service === 'tiny');
  expect(tiny).toMatchObject({ status: 'operational', total: 1, up: 1 });
});

test('[SD2] [SD4] given a killed and a stopped instance, service discovery lists only the killed instance', async () => {
  const mine = own();
  await using aggregator = await startAggregator(mine);
  await using killed = await startTiny(mine, { INSTANCE_NAME: 'tiny-killed' });
  await using leaving = await startTiny(mine, { INSTANCE_NAME: 'tiny-leaving' });
  await untilState(aggregator, 'tiny-killed', 'up');
  await untilState(aggregator, 'tiny-leaving', 'up');
  killed.kill('SIGKILL');
  leaving.kill('SIGTERM');
  await leaving.ended();
  await untilState(aggregator, 'tiny-killed', 'down');
  await untilState(aggregator, 'tiny-leaving', undefined);
  const { body } = await aggregator.request('/sd/prometheus');
  const names = body.map((group: { labels: Record<string, string> }) => group.labels['__meta_fleet_instance_name']);
  expect(names.toSorted()).toEqual(['aggregator-test', 'tiny-killed']);
  const changes = aggregator.log.of('instance.changed').map(({ fields }) => `${fields['name']} ${fields['to']}`);
  expect(changes).not.toContain('tiny-leaving down');
});

test('[SD1] when a scraper requests its targets, the answer lists every instance once in the http_sd format, the aggregator included', async () => {
  const mine = own();
  await using aggregator = await startAggregator(mine);
  await using tiny = await startTiny(mine);
  await untilState(aggregator, 'tiny-1', 'up');
  const { status, headers, body } = await aggregator.request('/sd/prometheus');
  expect(status).toBe(200);
  expect(headers.get('content-type')).toMatch(/^application\/json/);
  const targets = body.map((group: { targets: string[] }) => group.targets);
  expect(targets.toSorted()).toEqual(
    [[`127.0.0.1:${aggregator.app.opsPort}`], [`127.0.0.1:${tiny.opsPort}`]].toSorted(),
  );
  for (const { labels } of body) {
    for (const [name, value] of Object.entries(labels)) {
      expect(name).toMatch(/^__meta_fleet_/);
      expect(typeof value).toBe('string');
    }
  }
  const filtered = await aggregator.request('/sd/prometheus?service=tiny');
  expect(filtered.body).toHaveLength(1);
});

test('[SD3] given a list that would be empty, the answer is 503', async () => {
  await using aggregator = await startAggregator(own());
  const { status, headers } = await aggregator.request('/sd/prometheus?service=unknown');
  expect(status).toBe(503);
  expect(headers.get('retry-after')).toBe('2');
});

test('[FH1] [FH11] [FH13] [FH14] [FH27] given a degraded fleet, /health has the status of the stores and of every service, and strict=1 is 503', async () => {
  const mine = own();
  await using aggregator = await startAggregator(mine, { EXPECTED: 'session-service=1' });
  expect((await aggregator.request('/health')).status).toBe(503);
  await using _tiny = await startTiny(mine, { SERVICE: 'session-service' });
  await untilState(aggregator, 'tiny-1', 'up');
  const { status, body, headers } = await aggregator.request('/health');
  // The tiny instance does not report on a database, and unknown is not healthy.
  expect(status).toBe(200);
  expect(headers.get('cache-control')).toBe('max-age=1');
  expect(body).toEqual({
    status: 'degraded',
    checks: {
      database: { status: 'unknown' },
      redis: { status: 'healthy', latency_ms: expect.any(Number), age_ms: expect.any(Number) },
      'health-aggregator': { status: 'healthy', up: 1, total: 1, expected: 1 },
      'session-service': { status: 'healthy', up: 1, total: 1, expected: 1 },
    },
    version: expect.stringMatching(/^\d+\.\d+\.\d+/),
    asOf: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
    ageMs: expect.any(Number),
  });
  expect((await aggregator.request('/health?strict=1')).status).toBe(503);
});

test('[FH2] [FH15] when /v1/fleet is requested, it has an ETag of its version, and answers 304 while nothing has changed', async () => {
  const mine = own();
  await using aggregator = await startAggregator(mine);
  await using tiny = await startTiny(mine);
  await untilState(aggregator, 'tiny-1', 'up');
  const first = await aggregator.request('/v1/fleet');
  const tag = first.headers.get('etag') ?? '';
  expect(tag).toMatch(/^W\/"aggregator-test-/);
  const again = await aggregator.request('/v1/fleet', { headers: { 'if-none-match': `"other", ${tag}` } });
  expect(again).toMatchObject({ status: 304, body: '' });
  tiny.kill('SIGKILL');
  await untilState(aggregator, 'tiny-1', 'down');
  const changed = await aggregator.request('/v1/fleet', { headers: { 'if-none-match': tag } });
  expect(changed.status).toBe(200);
  expect(changed.body.version).toBeGreaterThan(first.body.version);
});

test('[FH3] when public paths are requested, the answers contain no addresses and no process ids', async () => {
  const mine = own();
  await using aggregator = await startAggregator(mine);
  await using tiny = await startTiny(mine);
  await untilState(aggregator, 'tiny-1', 'up');
  for (const path of ['/health', '/v1/fleet', '/']) {
    const text = JSON.stringify((await aggregator.request(path)).body);
    expect(text).not.toContain('127.0.0.1');
    expect(text).not.toContain(String(tiny.port));
    expect(text).not.toContain('"pid"');
  }
});

test('[FH7] [FH22] [FH23] [FH24] when a service or an instance is requested, it has a health of its own, in three formats; unknown names are 404', async () => {
  const mine = own();
  await using aggregator = await startAggregator(mine, { EXPECTED: 'tiny=1' });
  await using tiny = await startTiny(mine);
  await untilState(aggregator, 'tiny-1', 'up');
  const service = await aggregator.request('/health/tiny');
  expect(service).toMatchObject({ status: 200, body: { status: 'healthy', up: 1, expected: 1 } });
  expect(service.body.checks['tiny-1']).toMatchObject({ status: 'healthy', state: 'up' });
  const instance = await aggregator.request('/health/tiny/tiny-1');
  expect(instance.body).toMatchObject({
    status: 'healthy',
    service: 'tiny',
    instance: 'tiny-1',
    state: 'up',
  });
  for (const path of ['/health/unknown', '/health/tiny/unknown', '/health/tiny/tiny-1/x', '/health/TINY']) {
    expect([path, (await aggregator.request(path)).status]).toEqual([path, 404]);
  }
  const word = await aggregator.request('/health/tiny', { headers: { accept: 'text/plain' } });
  expect(word.body).toBe('healthy\n');
  const draft = await aggregator.request('/health', { headers: { accept: 'application/health+json' } });
  expect(draft.headers.get('content-type')).toMatch(/^application\/health\+json/);
  expect(draft.body).toMatchObject({ status: 'warn', serviceId: 'muster' });
  expect(draft.body.checks['tiny:instances'][0]).toMatchObject({ componentId: 'tiny-1', status: 'pass' });
  expect(draft.body.checks['redis:responseTime'][0]).toMatchObject({
    componentType: 'datastore',
    status: 'pass',
  });
  tiny.kill('SIGKILL');
  await untilState(aggregator, 'tiny-1', 'down');
  expect(await aggregator.request('/health/tiny/tiny-1')).toMatchObject({
    status: 503,
    body: { why: 'refused' },
  });
});

test('[FH8] [FH22] when a badge is requested, it is an SVG below 1,000 bytes; unknown names are 404', async () => {
  await using aggregator = await startAggregator(own());
  const { status, headers, body } = await aggregator.request('/badge/fleet.svg');
  expect(status).toBe(200);
  expect(headers.get('content-type')).toMatch(/^image\/svg\+xml/);
  expect(body).toMatch(/^<svg .*fleet: No data yet.*<\/svg>$/);
  expect(Buffer.byteLength(body)).toBeLessThan(1_000);
  expect((await aggregator.request('/badge/unknown.svg')).status).toBe(404);
  expect((await aggregator.request('/badge/%3Cscript%3E.svg')).status).toBe(404);
  expect((await aggregator.request('/badge/fleet.png')).status).toBe(422);
});

test('[CP4] given no known load, /v1/capacity answers 503', async () => {
  await using aggregator = await startAggregator(own());
  expect((await aggregator.request('/v1/capacity')).status).toBe(503);
});

test('[IS3] when a process hangs, it is down within 7 s; when it continues, it is up', async () => {
  const mine = own();
  await using aggregator = await startAggregator(mine);
  await using tiny = await startTiny(mine);
  await untilState(aggregator, 'tiny-1', 'up');
  const hungAt = performance.now();
  tiny.kill('SIGSTOP');
  await untilState(aggregator, 'tiny-1', 'down', 9_000);
  expect(performance.now() - hungAt).toBeLessThan(7_500);
  tiny.kill('SIGCONT');
  await untilState(aggregator, 'tiny-1', 'up', 12_000);
}, 40_000);

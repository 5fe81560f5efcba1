import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { expect, test } from 'vitest';
import { FAST, startAggregator, startTiny } from './fixture.ts';

const stores = useTestStores();

test('[FH5] [FH16] [FH17] when a path, method or query is invalid, the answer is a problem', async () => {
  await using aggregator = await startAggregator(stores);
  for (const path of [
    '/nope',
    '/v1',
    '/assets/none.js',
    '/assets/..%2f..%2fpackage.json',
    '/metrics',
    '/livez',
    '/health/',
    '/v1/fleet/',
    '/V1/fleet',
  ]) {
    const { status, body } = await aggregator.request(path);
    expect([path, status, body.title]).toEqual([path, 404, 'Not found']);
  }
  for (const path of ['/', '/health', '/v1/fleet', '/v1/fleet/events', '/sd/prometheus', '/readyz', '/assets/x']) {
    const { status, headers } = await aggregator.request(path, { method: 'POST', body: '{}' });
    expect([path, status, headers.get('allow')]).toEqual([path, 405, 'GET, HEAD']);
  }
  const bad = await aggregator.request('/health?strict=maybe');
  expect(bad.status).toBe(422);
  expect(bad.body.detail[0].loc).toEqual(['query', 'strict']);
  const long = await aggregator.request(`/sd/prometheus?service=${'x'.repeat(65)}`);
  expect(long.status).toBe(422);
  expect((await aggregator.request('/health', { method: 'HEAD' })).body).toBe('');
});

test('[FH18] given bytes that are not HTTP, the answer is 400, and other requests are answered', async () => {
  await using aggregator = await startAggregator(stores);
  const answer = await new Promise<string>((resolve) => {
    let text = '';
    connect(aggregator.app.port, '127.0.0.1')
      .on('data', (chunk) => {
        text += chunk.toString();
      })
      .on('close', () => resolve(text))
      .end('\u0000\u0001 nonsense\r\n\r\n');
  });
  expect(answer).toMatch(/^HTTP\/1\.1 400 /);
  expect((await aggregator.request('/v1/fleet')).status).toBe(200);
});

/** Reads events until there are enough. */
const readEvents = async (url: string, count: number): Promise<{ event: string; data: unknown }[]> => {
  const response = await fetch(url);
  expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
  const events: { event: string; data: unknown }[] = [];
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk as Uint8Array, { stream: true });
    const blocks = text.split('\n\n');
    text = blocks.pop() ?? '';
    for (const block of blocks) {
      const event = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (event && data) events.push({ event, data: JSON.parse(data) });
    }
    if (events.length >= count) break;
  }
  return events;
};

test('[FE1] [FE3] [FE4] when a stream is opened, it has a snapshot at once, pulses between changes, and a snapshot after a change', async () => {
  await using aggregator = await startAggregator(stores);
  await until(async () => (await aggregator.stateOf('aggregator-test')) === 'up', {
    what: 'a fleet without changes',
  });
  await sleep(1_500);
  const startedAt = performance.now();
  const reading = readEvents(`${aggregator.url}/v1/fleet/events`, 6);
  await sleep(2_500);
  await using _tiny = await startTiny(stores);
  const events = await reading;
  expect(events[0]?.event).toBe('snapshot');
  expect(events.map(({ event }) => event)).toContain('pulse');
  expect(JSON.stringify(events.at(-1)?.data)).toContain('ageMs');
  const later = events.slice(2).filter(({ event }) => event === 'snapshot');
  expect(later.length).toBeGreaterThan(0);
  // One snapshot at once, then at most one per second.
  expect(performance.now() - startedAt).toBeGreaterThan(4_000);
});

test('[FE2] [FE5] given the most streams allowed, a further stream is 503; when a stream is closed, another is accepted', async () => {
  await using aggregator = await startAggregator(stores, { MAX_EVENT_STREAMS: '2' });
  const open = async () => {
    const abort = new AbortController();
    const response = await fetch(`${aggregator.url}/v1/fleet/events`, { signal: abort.signal });
    return {
      // Referenced, because the connection of a collected response is closed.
      response,
      status: response.status,
      retryAfter: response.headers.get('retry-after'),
      close: () => abort.abort(),
    };
  };
  const [first, second] = [await open(), await open()];
  expect([first.status, second.status]).toEqual([200, 200]);
  expect(await open()).toMatchObject({ status: 503, retryAfter: '2' });
  first.close();
  await until(async () => (await open()).status === 200, { what: 'room for another stream' });
});

test('[FH6] [FH19] [FH20] [FH21] given Redis is unavailable, the aggregator answers from memory, marks no instance down, and recovers by itself', async () => {
  await using redis = await openDedicatedRedis();
  const mine = { redisUrl: redis.url, redisPrefix: 'agg:' };
  await using aggregator = await startAggregator(mine, FAST);
  await using _tiny = await startTiny(mine, FAST);
  await until(async () => (await aggregator.stateOf('tiny-1')) === 'up', {
    what: 'a fleet',
    timeoutMs: 15_000,
  });
  await redis.stop();
  await until(async () => (await aggregator.request('/health')).body.checks.redis.status === 'unhealthy', {
    what: 'the loss of redis',
    timeoutMs: 6_000,
  });
  const { status, body } = await aggregator.request('/v1/fleet');
  expect(status).toBe(200);
  expect(body.frozen).toBe(true);
  expect((await aggregator.request('/readyz')).status).toBe(200);
  // Longer than the TTL of heartbeats.
  await sleep(2_500);
  await until(() => aggregator.stateOf('tiny-1'), {
    what: 'its degradation',
    ok: (state) => state === 'degraded',
    timeoutMs: 10_000,
  });
  expect(aggregator.log.of('instance.changed').map(({ fields }) => fields['to'])).not.toContain('down');
  await redis.start();
  await until(async () => (await aggregator.request('/v1/fleet')).body.frozen === false, {
    what: 'the registry',
    timeoutMs: 10_000,
  });
  await until(async () => (await aggregator.stateOf('tiny-1')) === 'up', {
    what: 'recovery',
    timeoutMs: 25_000,
  });
}, 60_000);

test('[CO3] [CO16] [CO17] when the page is requested, it has a strict policy, its assets are cached, and it shows the fleet without scripts', async () => {
  await using aggregator = await startAggregator(stores);
  const { status, headers, body } = await aggregator.request('/');
  expect(status).toBe(200);
  expect(headers.get('content-security-policy')).toContain("default-src 'self'");
  expect(headers.get('content-security-policy')).not.toContain('unsafe');
  expect(headers.get('cache-control')).toBe('no-cache');
  expect(body).toContain('No data yet');
  expect(body).toMatch(/Fleet muster, as of \d{4}-/);
  expect(body).toContain('/health');
  expect(body).toContain('/v1/fleet');
  for (const [, name] of String(body).matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)) {
    const asset = await fetch(aggregator.url + name);
    expect(asset.status).toBe(200);
    expect(asset.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
    expect(asset.headers.get('x-content-type-options')).toBe('nosniff');
  }
});

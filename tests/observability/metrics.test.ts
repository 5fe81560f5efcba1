import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { budgetOf, type Metric } from '@muster/telemetry/metric';
import { CATALOGUE, CHAPTERS, SERVICE_BUDGETS, type ServiceName } from '@muster/telemetry/metric-catalogue';
import { useTestStores } from '@muster/testkit/stores';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { startAggregator, type TestAggregator } from '../aggregator/fixture.ts';
import { startGateway, type TestGateway } from '../gateway/fixture.ts';
import { SERVICE_KEY, startService, type TestService } from '../session/fixture.ts';
import { findPrometheusProgram } from './prometheus-program.ts';

const run = promisify(execFile);
const stores = useTestStores({ migrate });
const catalogue: Readonly<Record<string, Metric | undefined>> = CATALOGUE;
/** Metrics of the client library. */
const RUNTIME = /^(process|nodejs)_/;
/** Exposed by applications that check sessions themselves, or only where something is configured. */
const OPTIONAL =
  /^session_(verifier_|token_exchanges|backchannel|issuer|bus_)|^db_client_primary|^service_local_fault|^fleet_pod_deletion_cost/;
const MALFORMED = ['%00', '..%2f', 'a'.repeat(300), '%F0%9F%92%A9', '1;drop', 'x?y=1&y=2', '{}', '../../etc'];

let sessions: TestService;
let gateway: TestGateway;
let aggregator: TestAggregator;
const texts = new Map<ServiceName, string>();

/** Sends a malformed request that the HTTP parser still accepts; resolves after the response or the error. */
const sendMalformedRequest = (base: string, method: string, path: string): Promise<void> =>
  new Promise((resolve) => {
    const url = new URL(base);
    const sent = request({ host: url.hostname, port: url.port, method, path, agent: false }, (answer) => {
      answer.resume().once('close', resolve);
    });
    sent.once('error', () => resolve()).end();
  });

const sendMalformedFrames = (url: string, frames: readonly string[]): Promise<void> =>
  new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.once('open', () => {
      for (const frame of frames) socket.send(frame);
    });
    socket.once('error', () => resolve());
    socket.once('close', () => resolve());
  });

beforeAll(async () => {
  sessions = await startService(stores);
  gateway = await startGateway(stores, sessions.opsUrl);
  aggregator = await startAggregator(stores, { SERVICE_API_KEYS: SERVICE_KEY, EXPECTED: 'ws-gateway=1' });
  const opened = await sessions.service('POST', '/v1/sessions', { user_id: 'ann' });
  expect(opened.status).toBe(201);
  await sessions.bearer(opened.body.token, 'GET', '/v1/session');
  for (const { url } of [sessions, gateway, aggregator]) {
    for (const name of MALFORMED) {
      for (const method of ['GET', 'POST', 'PROPFIND', 'M-SEARCH']) {
        await sendMalformedRequest(url, method, `/v1/${name}/${name}`);
        await sendMalformedRequest(url, method, `/api/${name}`);
        await sendMalformedRequest(url, method, `/${name}`);
      }
    }
  }
  await sendMalformedFrames(`${gateway.wsUrl}/connection/websocket`, ['{', '{"id":1,"no_such_command":{}}']);
  for (const name of MALFORMED) await sendMalformedFrames(`${gateway.wsUrl}/connection/websocket`, [name]);
  const running = { 'session-service': sessions, 'ws-gateway': gateway, 'health-aggregator': aggregator };
  for (const [service, { opsUrl }] of Object.entries(running)) {
    texts.set(service as ServiceName, await (await fetch(`${opsUrl}/metrics`)).text());
  }
}, 120_000);
afterAll(async () => {
  await aggregator?.[Symbol.asyncDispose]();
  await gateway?.[Symbol.asyncDispose]();
  await sessions?.[Symbol.asyncDispose]();
});

const SERVICES = Object.keys(SERVICE_BUDGETS) as ServiceName[];
const exposedBy = (service: ServiceName): string[] =>
  [...(texts.get(service) ?? '').matchAll(/^# TYPE (\w+)/gm)].map(([, name = '']) => name);

/** Samples: name of the metric, and labels as text. */
const samplesOf = (service: ServiceName): [string, string][] => {
  const known = new Set(exposedBy(service));
  return [...(texts.get(service) ?? '').matchAll(/^(\w+)(?:\{(.*)\})? \S+$/gm)].map(([, name = '', labels = '']) => [
    known.has(name) ? name : name.replace(/_(bucket|sum|count)$/, ''),
    labels,
  ]);
};

test.each(SERVICES)('[OBS5] %s exposes the metrics that the catalogue lists for it, and no others', (service) => {
  const ours = exposedBy(service).filter((name) => !RUNTIME.test(name));
  const listed = CHAPTERS.filter(({ services }) => services.includes(service)).flatMap(({ metrics }) =>
    Object.keys(metrics),
  );
  expect(ours.filter((name) => !listed.includes(name))).toEqual([]);
  expect(listed.filter((name) => !ours.includes(name) && !OPTIONAL.test(name))).toEqual([]);
});

test.each(SERVICES)('[OBS12] no metric of %s has more series than its budget', (service) => {
  const counts = Map.groupBy(samplesOf(service), ([name]) => name);
  const over = [...counts].flatMap(([name, samples]) => {
    const metric = catalogue[name];
    return metric !== undefined && samples.length > budgetOf(metric)
      ? [`${name}: ${samples.length} of ${budgetOf(metric)}`]
      : [];
  });
  expect(over).toEqual([]);
  expect(samplesOf(service).length).toBeLessThanOrEqual(SERVICE_BUDGETS[service]);
});

test.each(SERVICES)('[OBS13] closed labels of %s have only values of the catalogue', (service) => {
  const unlisted = samplesOf(service).flatMap(([name, text]) =>
    [...text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].flatMap(([, label = '', value = '']) => {
      const values = catalogue[name]?.labels[label];
      const isKnown = values === undefined || 'atMost' in values || values.includes(value);
      return isKnown ? [] : [`${name}{${label}="${value}"}`];
    }),
  );
  expect(unlisted).toEqual([]);
});

test.each(SERVICES)(
  '[MT3] the metrics of %s pass promtool check metrics',
  async (service) => {
    const promtool = await findPrometheusProgram('promtool');
    if (promtool === undefined) return;
    const directory = mkdtempSync(join(tmpdir(), 'muster-metrics-'));
    const path = join(directory, 'metrics.txt');
    writeFileSync(path, texts.get(service) ?? '');
    const { stdout, stderr } = await run('sh', ['-c', `"${promtool}" check metrics < "${path}" || true`]);
    rmSync(directory, { recursive: true, force: true });
    const complaints = `${stdout}${stderr}`.split('\n').filter((line) => line !== '' && !RUNTIME.test(line));
    expect(complaints).toEqual([]);
  },
  120_000,
);

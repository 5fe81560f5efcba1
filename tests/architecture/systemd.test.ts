import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { settings as aggregatorSettings, readConfig as readAggregatorConfig } from '@muster/health-aggregator/config';
import { readConfig as readSessionConfig, settings as sessionSettings } from '@muster/session-service/config';
import { settings as gatewaySettings, readConfig as readGatewayConfig } from '@muster/ws-gateway/config/index';
import { expect, test } from 'vitest';
import { ROOT, read } from './source-files.ts';

const SERVICES = [
  ['session-service', sessionSettings, readSessionConfig],
  ['ws-gateway', gatewaySettings, readGatewayConfig],
  ['health-aggregator', aggregatorSettings, readAggregatorConfig],
] as const;
const MOST_EXPOSED = 2;
const READY_AFTER = 3;

const unitOf = (service: string): string => read(`deploy/systemd/muster-${service}@.service`);
const valuesOf = (unit: string, key: string): string[] =>
  [...unit.matchAll(new RegExp(`^${key}=(.+)$`, 'gm'))].map(([, value = '']) => value);

/** The environment of instance 1, as systemd would set it. */
const environmentOf = (service: string): Record<string, string> => {
  const assignments = valuesOf(unitOf(service), 'Environment').flatMap((line) => line.split(' '));
  const own = assignments.map((text) => text.replaceAll('%i', '1').replaceAll('%p', `muster-${service}`));
  const secret = (name: string): string =>
    name === 'DATABASE_URL' ? 'postgres://muster:0123456789@db/muster' : 'f00dcafe0123456789abcdef0123456789abcdef';
  const entries = own.map((text): [string, string] => {
    const [name = '', ...value] = text.split('=');
    const plain = name.replace(/_FILE$/, '');
    return name === plain ? [name, value.join('=')] : [plain, secret(plain)];
  });
  return { ...(parseEnv(read('deploy/systemd/common.env')) as Record<string, string>), ...Object.fromEntries(entries) };
};

const hasAnalyzer = spawnSync('systemd-analyze', ['--version']).status === 0;
if (!hasAnalyzer) process.stdout.write('systemd: SKIPPED: no systemd-analyze, the units have not been verified\n');

test.runIf(hasAnalyzer).each(SERVICES)('[SM1] systemd accepts the unit of %s, and its exposure is low', (service) => {
  const directory = mkdtempSync(join(tmpdir(), 'muster-units-'));
  try {
    const file = join(directory, `muster-${service}@1.service`);
    // The program of this machine: verify requires that it exists.
    writeFileSync(file, unitOf(service).replaceAll('/usr/bin/node', process.execPath));
    const verified = spawnSync('systemd-analyze', ['verify', file], { encoding: 'utf8' });
    expect({ status: verified.status, stderr: verified.stderr }).toEqual({ status: 0, stderr: '' });
    const { stdout } = spawnSync('systemd-analyze', ['security', '--offline=yes', '--no-pager', file], {
      encoding: 'utf8',
    });
    const [, exposure] = /Overall exposure level .*: ([\d.]+)/.exec(stdout) ?? [];
    expect(Number(exposure)).toBeLessThanOrEqual(MOST_EXPOSED);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test.each(SERVICES)(
  '[SM2] [SM3] the unit of %s is a valid configuration, and stops later than its drain',
  (service, settings, readConfig) => {
    const unit = unitOf(service);
    const environment = environmentOf(service);
    const shared = Object.keys(parseEnv(read('deploy/systemd/common.env')));
    const own = Object.keys(environment).filter((name) => !shared.includes(name) && name !== 'NODE_OPTIONS');
    expect(own.filter((name) => !(name in settings.shape))).toEqual([]);
    const config = readConfig(environment);
    expect(valuesOf(unit, 'LoadCredential').map((text) => text.split(':')[0])).toEqual(
      valuesOf(unit, 'Environment').flatMap((text) => /^(\w+)_FILE=%d\/\1$/.exec(text)?.[1] ?? []),
    );
    expect(Number(valuesOf(unit, 'TimeoutStopSec')[0]) * 1_000).toBeGreaterThan(config.common.drainTimeoutMs);
    // The name that `muster rollout --with systemd` splits into host and unit.
    expect(environment['INSTANCE_NAME']).toBe(`%H:muster-${service}@1`);
    if (service === 'ws-gateway')
      expect(environment).toMatchObject({ REUSE_PORT: 'on', PORT: '8200', OPS_PORT: '9201' });
  },
);

test('[SM4] the start of a unit ends when the ops port reports readiness', async () => {
  let requests = 0;
  await using server = createServer((_req, res) => {
    requests += 1;
    res.writeHead(requests < READY_AFTER ? 503 : 200).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const child = spawn(process.execPath, ['deploy/systemd/wait-ready.mjs'], {
    ...{ cwd: ROOT, env: { OPS_PORT: String(port) }, stdio: 'inherit' },
  });
  expect(await once(child, 'exit')).toEqual([0, null]);
  expect(requests).toBe(READY_AFTER);
  for (const [service] of SERVICES)
    expect(valuesOf(unitOf(service), 'ExecStartPost')).toEqual(['/usr/bin/node deploy/systemd/wait-ready.mjs']);
});

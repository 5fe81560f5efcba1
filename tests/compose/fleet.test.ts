import { dockerAnswers } from '@muster/testkit/docker';
import { until } from '@muster/testkit/wait';
import { unsign } from 'cookie-signature';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { endOwnSession, type SignedIn, sdkClient, signInUser } from '../cluster/clients.ts';
import { type ComposeFleet, startComposeFleet } from './compose.ts';
import { startTraffic } from './traffic.ts';

const log = (line: string): void => void process.stdout.write(`compose: ${line}\n`);
const SERVICES = ['session-service', 'ws-gateway', 'health-aggregator'];
/** Of these Node has 150 MB. */
const MOST_IMAGE_BYTES = 230_000_000;
const CLEAN = { missing: [], announced: [], duplicates: [], misordered: [], unexpected: [] };

const hasEngine = await dockerAnswers(process.env);
if (!hasEngine) log('SKIPPED: no Docker engine answers, and nothing of the containers has been tested');

describe.skipIf(!hasEngine)('the fleet of docker-compose.yml', () => {
  let fleet: ComposeFleet;
  const statusOf = async (session: SignedIn): Promise<number> => {
    const token = 'token' in session.credential ? session.credential.token : '';
    const headers = { authorization: `Bearer ${token}` };
    return (await fetch(`${fleet.publicUrl}/v1/session`, { headers })).status;
  };
  beforeAll(async () => {
    fleet = await startComposeFleet(log);
  });
  afterAll(() => fleet?.[Symbol.asyncDispose]());

  test('[FC1] [FC19] an image is small and has no shell; its user is unprivileged and its root file system read-only', async () => {
    for (const service of SERVICES) {
      const image = `muster/${service}:test`;
      const bytes = Number(await fleet.docker('image', 'inspect', '--format', '{{.Size}}', image));
      log(`${image}: ${Math.round(bytes / 1e6)} MB`);
      expect(bytes).toBeLessThan(MOST_IMAGE_BYTES);
      await expect(fleet.docker('run', '--rm', '--entrypoint', '/bin/sh', image, '-c', 'true')).rejects.toThrow(
        /no such file/,
      );
      const [container = ''] = await fleet.containersOf(service);
      const { Config, HostConfig } = await fleet.inspect(container);
      expect([Config.User, HostConfig.ReadonlyRootfs]).toEqual(['65532:65532', true]);
    }
  });

  test('[FC2] each container sees the secrets that it needs, and no others', async () => {
    const secretsOf = async (service: string) =>
      JSON.parse(
        await fleet.compose(
          ...['exec', '-T', service, '/usr/local/bin/node', '-p'],
          'JSON.stringify(require("fs").readdirSync("/run/secrets").sort())',
        ),
      );
    expect(await secretsOf('ws-gateway')).toEqual(['INTERNAL_API_KEY', 'SERVER_API_KEYS', 'SESSION_SECRETS']);
    expect(await secretsOf('session-service')).toContain('DATABASE_URL');
    expect(await secretsOf('health-aggregator')).not.toContain('DATABASE_URL');
  });

  test('[FC3] clients on three gateways receive every publication once, in order', async () => {
    await using traffic = await startTraffic(fleet, 3);
    expect(new Set(traffic.clients.map((client) => client.gateway())).size).toBe(3);
    await traffic.more(50);
    expect(await traffic.finish()).toMatchObject(CLEAN);
  });

  test('[FC20] when a session ends, its connection closes on any container', async () => {
    const session = await signInUser(fleet, 'gone');
    using client = await sdkClient(fleet.publicUrl, session.credential);
    expect((await endOwnSession(fleet.publicUrl, session.credential)).status).toBe(204);
    await until(() => client.closes[0]?.code === 4501, { what: 'the end of the socket' });
  });

  test('[FC4] when the process of a gateway is killed, the engine restarts it, and nothing is lost', async () => {
    await using traffic = await startTraffic(fleet, 3);
    const victim = traffic.clients[0]?.gateway().split(':')[0] ?? '';
    await fleet.docker('exec', victim, '/usr/local/bin/node', '-e', KILL_THE_SERVICE).catch(() => {});
    await until(async () => (await fleet.inspect(victim)).RestartCount, {
      ok: (count) => count === 1,
      what: 'a restart',
      timeoutMs: 30_000,
    });
    await fleet.untilHealthy();
    await traffic.more(20);
    expect(await traffic.finish()).toMatchObject(CLEAN);
  });

  test('[FC5] [FC21] a killed gateway container is missing in /health, its clients reconnect, and `up` starts it again', async () => {
    await using traffic = await startTraffic(fleet, 3);
    const [client] = traffic.clients;
    const victim = client?.gateway() ?? '';
    await fleet.docker('kill', victim.split(':')[0] ?? '');
    await until(() => client?.gateway() !== victim && client?.client.state === 'connected', {
      what: 'the client on another gateway',
      timeoutMs: 30_000,
    });
    await until(async () => (await (await fetch(`${fleet.publicUrl}/health`)).json()).checks['ws-gateway'].up, {
      ok: (up) => up === 2,
      what: 'the loss to be seen',
      timeoutMs: 30_000,
    });
    await fleet.compose('up', '--detach', '--no-build', '--no-recreate', '--wait');
    await fleet.untilHealthy();
    await traffic.more(20);
    expect(await traffic.finish()).toMatchObject(CLEAN);
  });

  test('[FC6] when Redis is killed and restarts, connections, sessions and acknowledged publications are kept', async () => {
    await using traffic = await startTraffic(fleet, 3);
    const before = traffic.clients.map((client) => client.gateway());
    await traffic.more(10);
    const session = await signInUser(fleet, 'stays');
    const [redis = ''] = await fleet.containersOf('redis');
    await fleet.docker('kill', redis);
    await until(async () => (await (await fetch(`${fleet.publicUrl}/health`)).json()).checks.redis.status, {
      ok: (status) => status !== 'healthy',
      what: 'the fault to be seen',
      timeoutMs: 30_000,
    });
    await fleet.docker('start', redis);
    await fleet.untilHealthy();
    await traffic.more(20);
    expect(await traffic.finish()).toMatchObject(CLEAN);
    expect(traffic.clients.map((client) => client.gateway())).toEqual(before);
    expect(traffic.clients.flatMap((client) => client.closes)).toEqual([]);
    using again = await sdkClient(fleet.publicUrl, session.credential);
    expect(again.client.state).toBe('connected');
  });

  test('[FC7] when gateways restart one by one, each drains and nothing is lost', async () => {
    await using traffic = await startTraffic(fleet, 3);
    for (const gateway of await fleet.containersOf('ws-gateway')) {
      await fleet.docker('restart', '--time', '90', gateway);
      await fleet.untilHealthy();
      expect(await fleet.docker('logs', '--tail', '200', gateway)).toMatch(/"late":false.*"process.stopped"/);
    }
    await traffic.more(20);
    expect(await traffic.finish()).toMatchObject(CLEAN);
  });

  test('[FC22] when session services restart one by one, every login and check is answered', async () => {
    const session = await signInUser(fleet, 'patient');
    const token = 'token' in session.credential ? session.credential.token : '';
    const statuses = new Set<number>();
    let isGoing = true;
    const asking = (async () => {
      while (isGoing) {
        const headers = { authorization: `Bearer ${token}` };
        statuses.add((await fetch(`${fleet.publicUrl}/v1/session`, { headers })).status);
        await signInUser(fleet, 'another');
      }
    })();
    for (const replica of await fleet.containersOf('session-service')) {
      await fleet.docker('restart', '--time', '45', replica);
      await fleet.untilHealthy();
    }
    isGoing = false;
    await asking;
    expect([...statuses]).toEqual([200]);
  });

  test('[FC8] [FC23] scaled to five gateways and back to three, new gateways get clients and nothing is lost', async () => {
    await using traffic = await startTraffic(fleet, 3);
    await fleet.compose(
      ...[
        'up',
        '--detach',
        '--no-build',
        '--no-recreate',
        '--no-deps',
        '--wait',
        '--scale',
        'ws-gateway=5',
        'ws-gateway',
      ],
    );
    await fleet.untilHealthy(5);
    await using more = await startTraffic(fleet, 5);
    expect(new Set(more.clients.map((client) => client.gateway())).size).toBe(5);
    await more.more(10);
    expect(await more.finish()).toMatchObject(CLEAN);
    await fleet.compose(
      ...[
        'up',
        '--detach',
        '--no-build',
        '--no-recreate',
        '--no-deps',
        '--wait',
        '--scale',
        'ws-gateway=3',
        'ws-gateway',
      ],
    );
    await fleet.untilHealthy(3);
    await traffic.more(20);
    expect(await traffic.finish()).toMatchObject(CLEAN);
    expect(traffic.clients.map((client) => client.client.state)).toEqual(['connected', 'connected', 'connected']);
  });

  test('[FC12] Prometheus discovers every instance', async () => {
    await fleet.compose(
      '--profile',
      'observability',
      'up',
      '--detach',
      '--no-build',
      '--wait',
      '--no-deps',
      'prometheus',
    );
    const up = async (): Promise<Record<string, string>> => {
      const answer = await fetch(`${fleet.prometheusUrl}/api/v1/query?query=sum by (service) (up)`);
      const { data } = (await answer.json()) as {
        data: { result: { metric: { service: string }; value: [number, string] }[] };
      };
      return Object.fromEntries(data.result.map(({ metric, value }) => [metric.service, value[1]]));
    };
    await until(up, {
      ok: (seen) => seen['ws-gateway'] === '3' && seen['session-service'] === '2',
      what: 'three gateways and two session services that are up',
      timeoutMs: 90_000,
      intervalMs: 500,
    });
  });

  test('[FC16] [FC25] session secrets are replaced in three steps without closing a connection, and retired last', async () => {
    const change = async (step: string) => {
      await fleet.compose('run', '--rm', '--no-deps', '-T', 'secrets', step, 'SESSION_SECRETS');
      await fleet.compose('kill', '--signal', 'SIGHUP', 'session-service', 'ws-gateway');
    };
    const before = await signInUser(fleet, 'before');
    using client = await sdkClient(fleet.publicUrl, before.credential);
    await change('add');
    expect(await statusOf(await signInUser(fleet, 'between'))).toBe(200);
    await change('promote');
    const [newest = ''] = (await fleet.secret('SESSION_SECRETS')).split(',');
    const after = await until(() => signInUser(fleet, 'after'), {
      ok: ({ credential }) => 'token' in credential && unsign(credential.token, newest) !== false,
      what: 'a session that is signed with the new key',
      timeoutMs: 30_000,
    });
    using newcomer = await sdkClient(fleet.publicUrl, after.credential);
    expect([await statusOf(before), await statusOf(after), newcomer.client.state]).toEqual([200, 200, 'connected']);
    await change('retire');
    await until(() => statusOf(before), { ok: (status) => status === 401, what: 'the end of the old key' });
    expect(await statusOf(after)).toBe(200);
    expect(client.closes).toEqual([]);
  });

  test('[FC15] [FC24] sessions of a restored dump are accepted, others rejected', async () => {
    const inPostgres = (...command: string[]) => fleet.compose('exec', '-T', 'postgres', ...command);
    const kept = await signInUser(fleet, 'kept');
    await inPostgres('pg_dump', '--username', 'muster', '--format', 'custom', '--file', '/tmp/dump', 'muster');
    const later = await signInUser(fleet, 'later');
    expect([await statusOf(kept), await statusOf(later)]).toEqual([200, 200]);

    await fleet.compose('stop', 'session-service');
    await inPostgres('dropdb', '--username', 'muster', '--force', '--maintenance-db', 'postgres', 'muster');
    await inPostgres('createdb', '--username', 'muster', '--maintenance-db', 'postgres', 'muster');
    await inPostgres('pg_restore', '--username', 'muster', '--dbname', 'muster', '--exit-on-error', '/tmp/dump');
    await fleet.compose('exec', '-T', 'redis', 'sh', '-c', FORGET_SNAPSHOTS);
    await fleet.compose('start', 'session-service');
    await fleet.untilHealthy();
    expect([await statusOf(kept), await statusOf(later)]).toEqual([200, 401]);
  });

  test('[FC9] a stopped container ends with exit code 0', async () => {
    for (const service of SERVICES) {
      const [container = ''] = await fleet.containersOf(service);
      await fleet.docker('stop', container);
      expect((await fleet.inspect(container)).State).toMatchObject({ Running: false, ExitCode: 0 });
    }
    await fleet.compose('up', '--detach', '--no-build', '--no-recreate', '--wait');
    await fleet.untilHealthy();
  });
});

const FORGET_SNAPSHOTS = "redis-cli --scan --pattern 'muster:s:*' | xargs -r redis-cli unlink";

/** Process 1 is the init of the engine; its child is the service. */
const KILL_THE_SERVICE = `
  const { readdirSync, readFileSync } = require('node:fs');
  for (const pid of readdirSync('/proc').filter((name) => /^\\d+$/.test(name) && Number(name) !== process.pid)) {
    if (readFileSync('/proc/' + pid + '/cmdline', 'utf8').split('\\0').includes('/app/main.ts')) process.kill(Number(pid), 'SIGKILL');
  }
`;

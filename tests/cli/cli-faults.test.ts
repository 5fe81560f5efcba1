import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '@muster/cli/cli';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { openFaultProxy } from '@muster/testkit/fault-proxy';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { expect, test } from 'vitest';
import { FAST, startAggregator } from '../aggregator/fixture.ts';
import { startGateway } from '../gateway/fixture.ts';
import { openFront } from '../launcher/front.ts';
import { SERVICE_KEY, startService } from '../session/fixture.ts';

const stores = useTestStores({ migrate });
/** The command promises five seconds; a busy machine adds to that. */
const PROMISED_MS = 5_000;
const BUSY_MACHINE_MS = 1_500;

/** Runs the command as a shell would. */
const muster = async (line: string, env: NodeJS.ProcessEnv = {}) => {
  const output: string[] = [];
  const errors: string[] = [];
  const code = await runCli({
    argv: line.split(' ').filter((word) => word !== ''),
    ...{ env, cwd: '/' },
    out: (text) => output.push(text),
    err: (text) => errors.push(text),
    interruption: () => new AbortController().signal,
  });
  return { code, out: output.join('\n'), err: errors.join('\n') };
};

test('[CM15] given a --url that is not an origin, when a command runs, then it is a usage error that does not repeat it', async () => {
  const secret = 'sk_live_do_not_show';
  for (const url of [secret, `ftp://${secret}`, `https:${secret}`, `http://${secret}:x`]) {
    for (const run of [muster(`sessions list --url ${url}`), muster('groups', { MUSTER_URL: url })]) {
      const { code, out, err } = await run;
      expect({ code, out }).toEqual({ code: 2, out: '' });
      expect(err).toContain('--url (or MUSTER_URL) is not an http(s) URL: expected the origin');
      expect(err).not.toContain(secret);
    }
  }
  for (const tail of [`me:${secret}@fleet.example`, `fleet.example/?key=${secret}`, `fleet.example/#${secret}`]) {
    const { code, err } = await muster(`connections --url https://${tail}`);
    expect(code).toBe(2);
    expect(err).toContain('https://fleet.example');
    expect(err).not.toContain(secret);
  }
});

test('[CM17] given Postgres is stopped, when any command needs it, then it ends within five seconds and names Postgres', async () => {
  await using server = await openFaultProxy(stores.databaseUrl);
  await using own = await startService({ ...stores, databaseUrl: server.url });
  await using aggregator = await startAggregator(stores, { ...FAST, EXPECTED: 'session-service=1' });
  // Routes these paths as a load balancer does.
  await using front = await openFront((path) => (path.startsWith('/v1/fleet') ? aggregator.app.port : own.app.port));
  for (const fault of [server.refuse, server.blackhole]) {
    await fault();
    await until(async () => (await aggregator.request('/health')).body.checks.database?.status === 'unhealthy', {
      what: 'Postgres to be down for the fleet',
      timeoutMs: 20_000,
    });
    await Promise.all(
      ['sessions list', 'keys list', 'tail news'].map(async (command) => {
        const startedAt = performance.now();
        const { code, err } = await muster(`${command} --url ${front.url} --key ${SERVICE_KEY}`);
        expect(performance.now() - startedAt).toBeLessThan(PROMISED_MS + BUSY_MACHINE_MS);
        expect(code).toBe(1);
        expect(err).toMatch(/^muster: Postgres cannot be used \(\w+\): check that first; /);
      }),
    );
    await server.pass();
  }
}, 40_000);

test('[CM16] [CM20] given a rejection by a gateway, when tail runs, then the message has cause, code and remedy', async () => {
  using stack = new DisposableStack();
  const home = stack.adopt(mkdtempSync(join(tmpdir(), 'muster-cli-')), (one) => rmSync(one, { recursive: true }));
  const groups = join(home, 'groups.json');
  writeFileSync(groups, JSON.stringify({ namespaces: [{ name: 'quiet', permissive: true, history_size: 0 }] }));
  await using service = await startService(stores);
  await using gateway = await startGateway(stores, service.opsUrl, { GROUPS_FILE: groups });
  await using front = await openFront((path) =>
    path.startsWith('/connection/') ? gateway.app.port : service.app.port,
  );
  const fleet = `--url ${front.url} --key ${SERVICE_KEY}`;
  const noNamespace = await muster(`tail nowhere:news ${fleet}`);
  expect(noNamespace.code).toBe(1);
  expect(noNamespace.err).toMatch(
    /^muster: nowhere:news: unknown channel: .* \[102\]; its namespace is not in GROUPS_FILE/m,
  );
  const noHistory = await muster(`tail quiet:news --last 5 ${fleet}`);
  expect(noHistory.code).toBe(1);
  expect(noHistory.err).toMatch(
    /quiet:news: the gateway refused: not available.* \[108\]; its namespace keeps no history/,
  );
  // A balancer that does not know the path of the sockets.
  await using wrong = await openFront(() => service.app.port);
  const lost = await muster(`tail news --url ${wrong.url} --key ${SERVICE_KEY}`);
  expect(lost.code).toBe(1);
  expect(lost.err).toMatch(
    /^muster: news at 127\.0\.0\.1:\d+ cannot be subscribed to: .+ \[2\]; check that the load balancer routes \/connection\/websocket/,
  );
}, 40_000);

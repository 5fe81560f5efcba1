import { setTimeout as sleep } from 'node:timers/promises';
import { dockerAnswers } from '@muster/testkit/docker';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type SdkClient, sdkClient, signInUser } from '../cluster/clients.ts';
import { type ComposeFleet, startComposeFleet } from './compose.ts';

const log = (line: string): void => void process.stdout.write(`compose: ${line}\n`);
const CLIENTS = 24;
const PUBLISHERS = 4;
const PAUSE_MS = 20;
const TRY_TIMEOUT_MS = 10_000;

const hasEngine = await dockerAnswers(process.env);
if (!hasEngine) log('SKIPPED: no Docker engine answers, and no upgrade has been tested');

/** Requests and reconnects of back ends and clients during the work. */
interface TrafficReport {
  readonly publications: number;
  readonly logins: number;
  /** Publications and logins whose status was not 200 or 201. */
  readonly rejected: readonly string[];
  /** Reconnects of each client. */
  readonly reconnects: readonly number[];
}

describe.skipIf(!hasEngine)('changes of the fleet of docker-compose.yml while it is in use', () => {
  let fleet: ComposeFleet;
  beforeAll(async () => {
    fleet = await startComposeFleet(log);
  });
  afterAll(() => fleet?.[Symbol.asyncDispose]());

  /** Publishes once, without an idempotency key and without a retry. */
  const publish = async (n: number): Promise<string | undefined> => {
    const startedAt = new Date().toISOString();
    try {
      const answer = await fetch(`${fleet.publicUrl}/api/publish`, {
        method: 'POST',
        headers: { 'x-api-key': fleet.serverApiKey, 'content-type': 'application/json' },
        body: JSON.stringify({ channel: 'upgrade', data: { n } }),
        signal: AbortSignal.timeout(TRY_TIMEOUT_MS),
      });
      const text = await answer.text();
      return answer.status === 200 && text.includes('"result"')
        ? undefined
        : `${startedAt} publication ${n}: ${answer.status} ${text}`;
    } catch (error) {
      return `${startedAt} publication ${n}: ${error} ${(error as Error).cause}`;
    }
  };

  /** Publishes, signs in and listens while `work` runs. */
  const during = async (work: () => Promise<unknown>): Promise<TrafficReport> => {
    const clients: SdkClient[] = [];
    for (let index = 0; index < CLIENTS; index += 1) {
      const { credential } = await signInUser(fleet, `listener-${index}`);
      clients.push(await sdkClient(fleet.publicUrl, credential));
    }
    const reconnects = clients.map(() => 0);
    for (const [index, { client }] of clients.entries()) {
      client.on('connecting', () => {
        reconnects[index] = (reconnects[index] ?? 0) + 1;
      });
    }
    const rejected: string[] = [];
    let isRunning = true;
    let publications = 0;
    let logins = 0;
    const publishing = Array.from({ length: PUBLISHERS }, async () => {
      while (isRunning) {
        publications += 1;
        const fault = await publish(publications);
        if (fault !== undefined) rejected.push(fault);
        await sleep(PAUSE_MS);
      }
    });
    const signingIn = (async () => {
      while (isRunning) {
        logins += 1;
        await signInUser(fleet, `login-${logins}`).catch((error) => rejected.push(`login ${logins}: ${error}`));
        await sleep(PAUSE_MS);
      }
    })();
    try {
      await work();
      await sleep(2_000);
    } finally {
      isRunning = false;
      await Promise.all([...publishing, signingIn]);
      for (const client of clients) client[Symbol.dispose]();
    }
    log(
      `${publications} publications, ${logins} logins, ${rejected.length} rejected; reconnects ${reconnects.join(' ')}`,
    );
    for (const line of rejected) log(line);
    return { publications, logins, rejected, reconnects };
  };
  const scale = (gateways: number) =>
    fleet.compose(
      ...['up', '--detach', '--no-build', '--no-recreate', '--no-deps', '--wait'],
      ...['--scale', `ws-gateway=${gateways}`, 'ws-gateway'],
    );

  test('[FC17] [FC26] a rolling upgrade replaces every container, nothing is rejected, and clients reconnect once, few of them twice', async () => {
    const services = ['session-service', 'ws-gateway', 'health-aggregator'];
    const before = await Promise.all(services.map((service) => fleet.containersOf(service)));
    const report = await during(async () => {
      const token = await fleet.secret('OPS_TOKEN');
      const options = ['--with', 'compose', '--url', fleet.publicUrl, '--ops-token', token];
      log(await fleet.script('packages/cli/bin/muster.mjs', 'rollout', ...options));
    });
    const after = await Promise.all(services.map((service) => fleet.containersOf(service)));
    expect(after.map(({ length }) => length)).toEqual(before.map(({ length }) => length));
    expect(after.flat().filter((id) => before.flat().includes(id))).toEqual([]);
    expect(report.rejected).toEqual([]);
    expect(Math.max(...report.reconnects)).toBeLessThanOrEqual(2);
    expect(report.reconnects.filter((count) => count > 1).length).toBeLessThanOrEqual(CLIENTS / 10);
    await fleet.untilHealthy();
  });

  test('[FC8] [FC23] scaled from three gateways to five and back, no publication and no login is rejected', async () => {
    const report = await during(async () => {
      await scale(5);
      await fleet.untilHealthy(5);
      // Connections on the new gateways too.
      const others: SdkClient[] = [];
      for (let index = 0; index < CLIENTS; index += 1) {
        const { credential } = await signInUser(fleet, `other-${index}`);
        others.push(await sdkClient(fleet.publicUrl, credential));
      }
      await scale(3);
      await fleet.untilHealthy(3);
      for (const other of others) other[Symbol.dispose]();
    });
    expect(report.rejected).toEqual([]);
  });
});

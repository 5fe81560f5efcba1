import { openFaultProxy } from '@muster/testkit/fault-proxy';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { FAST, startAggregator } from '../../aggregator/fixture.ts';
import { startGateway, type TestGateway, tryUpgrade } from '../../gateway/fixture.ts';
import { cookieOf, ORIGIN, startService } from '../../session/fixture.ts';

interface StoreAddresses {
  readonly databaseUrl: string;
  readonly redisUrl: string;
  readonly redisPrefix: string;
}

type Fault = 'none runs' | 'unreachable from gateways' | 'hanging' | 'another `INTERNAL_API_KEY`';
const REASONS: Readonly<Record<Fault, string>> = {
  'none runs': 'refused',
  'unreachable from gateways': 'refused',
  hanging: 'timeout',
  'another `INTERNAL_API_KEY`': 'auth',
};
/** A check runs every 2 s, and a service that disappeared is down some seconds later; longer on a busy machine. */
const TIMEOUT_MS = 40_000;

/** One row of the table: the output of each surface while gateways cannot reach the session service. */
const observe = async (addresses: StoreAddresses, fault: Fault): Promise<readonly string[]> => {
  await using stack = new AsyncDisposableStack();
  const service = await startService(addresses, FAST);
  const stopService = once(async () => service[Symbol.asyncDispose]());
  stack.defer(stopService);
  const proxy = stack.use(await openFaultProxy(service.opsUrl));
  const isOtherKey = fault === 'another `INTERNAL_API_KEY`';
  const env = { ...FAST, ...(isOtherKey ? { INTERNAL_API_KEY: 'int_another-0123456789-key' } : {}) };
  const gateway = stack.use(await startGateway(addresses, proxy.url, env));
  const expected = { ...FAST, EXPECTED: 'session-service=1,ws-gateway=1,health-aggregator=1' };
  const aggregator = stack.use(await startAggregator(addresses, expected));
  const redis = stack.adopt(new Redis(addresses.redisUrl), (client) => client.disconnect());
  const signIn = async (user_id: string) => {
    const response = await service.service('POST', '/v1/sessions', { user_id, transport: 'cookie' });
    return { id: String(response.body.session?.id ?? response.body.id), cookie: cookieOf(response) };
  };
  const [known, unknown] = [await signIn('known'), await signIn('unknown')];
  await redis.unlink(`${addresses.redisPrefix}s:{${unknown.id}}`);
  const isUp = async () => (await fleetOf(aggregator)).checks['session-service']?.status === 'healthy';
  await until(isUp, { ok: Boolean, what: 'the session service to be up', timeoutMs: TIMEOUT_MS });

  if (fault === 'unreachable from gateways') await proxy.refuse();
  if (fault === 'hanging') await proxy.blackhole();
  if (fault === 'none runs') {
    await stopService();
    await proxy.refuse();
  }
  const subjects = fault === 'none runs' ? 'session-service,ws-gateway' : 'ws-gateway';
  const settled = async () => {
    const isReported = (await healthOf(gateway)).check?.reason === REASONS[fault];
    return isReported && (await fleetOf(aggregator)).impact?.map(({ subject }) => subject).join() === subjects;
  };
  await until(settled, { ok: Boolean, what: fault, timeoutMs: TIMEOUT_MS });
  const { status, health, ready, check } = await healthOf(gateway);
  const { code, impact, ...fleet } = await fleetOf(aggregator);
  const upgrade = async (cookie: string) =>
    (await tryUpgrade(`${gateway.wsUrl}/ws?group=news`, { cookie, origin: ORIGIN })).status;
  const failures = `service_dependency_failures_total{dependency="session_service",reason="${check?.reason}"}`;
  const line = gateway.log.of('dependency.down').findLast(({ fields }) => fields['dependency'] === 'session_service');
  return [
    fault,
    `${status} ${health}: \`${check?.reason}\``,
    String(ready),
    `${code} ${fleet.status}`,
    impact?.map(({ subject }) => subject).join(', ') ?? '–',
    String(await upgrade(known.cookie)),
    String(await upgrade(unknown.cookie)),
    (await gateway.metric(failures)) > 0 ? `\`${check?.reason}\`` : '–',
    `\`${line?.level} dependency.down\` \`${line?.fields['reason']}\``,
  ];
};

const healthOf = async ({ opsUrl }: TestGateway) => {
  const response = await fetch(`${opsUrl}/health`);
  const body = (await response.json()) as { status: string; checks: Record<string, { reason?: string }> };
  const ready = (await fetch(`${opsUrl}/readyz`)).status;
  return { status: response.status, health: body.status, ready, check: body.checks['session_service'] };
};

interface FleetBody {
  readonly status: string;
  readonly checks: Readonly<Record<string, { readonly status: string }>>;
  readonly impact?: readonly { readonly subject: string }[];
}

const fleetOf = async (aggregator: { request(path: string): Promise<{ status: number; body: unknown }> }) => {
  const { status, body } = await aggregator.request('/health');
  return { code: status, ...(body as FleetBody) };
};

const once = (work: () => Promise<void>): (() => Promise<void>) => {
  let running: Promise<void> | undefined;
  return () => {
    running ??= work();
    return running;
  };
};

/** All rows, each from a fleet of its own. */
export const observeSessionService = (addresses: StoreAddresses): Promise<readonly (readonly string[])[]> =>
  Promise.all(
    (Object.keys(REASONS) as Fault[]).map((fault, index) =>
      observe({ ...addresses, redisPrefix: `${addresses.redisPrefix}${index}:` }, fault),
    ),
  );

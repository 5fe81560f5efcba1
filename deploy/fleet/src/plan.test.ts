import { expect, test } from 'vitest';
import { type Plan, type PlannedInstance, planFleet, serviceEnvironment, wantedPorts } from './plan.ts';

const size = {
  sessions: 2,
  gateways: 2,
  aggregators: 1,
  direct: false,
  port: 8080,
  basePort: 8100,
  observability: false,
};
const secrets = {
  sessionSecrets: 'one,two',
  serviceApiKeys: 'sk_1',
  serverApiKeys: 'srv_1',
  internalApiKey: 'int_1',
  opsToken: 'ops_1',
};
const urls = { databaseUrl: 'postgres://x', redisUrl: 'redis://x' };

const named = (plan: Plan, name: string): PlannedInstance => {
  const found = plan.instances.find((instance) => instance.name === name);
  if (found === undefined) throw new Error(`${name}: expected an instance of the plan`);
  return found;
};

test('ports are offsets from the base port, per service', async () => {
  const plan = await planFleet(size);
  expect(plan.instances.map(({ name, port, opsPort }) => `${name} ${port} ${opsPort}`)).toEqual([
    'session-service-1 8100 9100',
    'session-service-2 8101 9101',
    'ws-gateway-1 8200 9200',
    'ws-gateway-2 8201 9201',
    'health-aggregator-1 8300 9300',
  ]);
  expect(plan).toMatchObject({ publicPort: 8080, postgresPort: 8400, redisPort: 8401 });
});

test('[LA37] gateways that share a port have ops ports of their own', async () => {
  const plan = await planFleet({ ...size, direct: true });
  const gateways = plan.instances.filter(({ kind }) => kind === 'ws-gateway');
  expect(gateways.map(({ port, opsPort }) => `${port} ${opsPort}`)).toEqual(['8200 9200', '8200 9201']);
  const ports = wantedPorts(plan, { postgres: true, redis: true }).map(({ port }) => port);
  expect(new Set(ports).size).toBe(ports.length);
  const environment = { env: { REUSE_PORT: 'off' }, plan, secrets, ...urls };
  expect(serviceEnvironment(named(plan, 'ws-gateway-2'), environment)).toMatchObject({
    REUSE_PORT: 'on',
    PORT: '8200',
  });
  expect(serviceEnvironment(named(plan, 'session-service-1'), environment)['REUSE_PORT']).toBe('off');
});

test('the ports of a plan are unique', async () => {
  const ports = wantedPorts(
    await planFleet({ ...size, sessions: 90, gateways: 90, aggregators: 90, observability: true }),
    {
      postgres: true,
      redis: true,
    },
  );
  expect(new Set(ports.map(({ port }) => port)).size).toBe(ports.length);
});

test('[LA2] variables of the caller take precedence, except names and addresses', async () => {
  const plan = await planFleet(size);
  const env = {
    GUEST_SESSIONS: 'off',
    PLAIN_SWEEP_MS: '500',
    PORT: '1',
    OPS_PORT: '2',
    HOST: '0.0.0.0',
    INSTANCE_NAME: 'mine',
  };
  const seen = serviceEnvironment(named(plan, 'ws-gateway-2'), { env, plan, secrets, ...urls });
  expect(seen).toMatchObject({
    GUEST_SESSIONS: 'off',
    PLAIN_SWEEP_MS: '500',
    PORT: '8201',
    OPS_PORT: '9201',
    HOST: '127.0.0.1',
    INSTANCE_NAME: 'ws-gateway-2',
    SESSION_SERVICE_URL: 'http://127.0.0.1:9100,http://127.0.0.1:9101',
    SESSION_SECRETS: 'one,two',
    NODE_ENV: 'development',
  });
});

test('[LA24] only session services receive DATABASE_URL', async () => {
  const plan = await planFleet(size);
  const env = { DATABASE_URL: 'postgres://theirs' };
  const environments = plan.instances.map((instance) => serviceEnvironment(instance, { env, plan, secrets, ...urls }));
  expect(environments.map((env) => env['DATABASE_URL'])).toEqual([
    'postgres://x',
    'postgres://x',
    undefined,
    undefined,
    undefined,
  ]);
});

test('[LA2] a secret given as a file is not set as a variable', async () => {
  const plan = await planFleet(size);
  const env = { SESSION_SECRETS_FILE: '/run/secrets/session' };
  const seen = serviceEnvironment(named(plan, 'session-service-1'), { env, plan, secrets, ...urls });
  expect(seen['SESSION_SECRETS']).toBeUndefined();
  expect(seen['SESSION_SECRETS_FILE']).toBe('/run/secrets/session');
});

test('[LA2] the loopback origins and the origin of PUBLIC_URL are allowed', async () => {
  const plan = await planFleet(size);
  const origins = (env: NodeJS.ProcessEnv) =>
    serviceEnvironment(named(plan, 'ws-gateway-1'), { env, plan, secrets, ...urls })['ALLOWED_ORIGINS'];
  expect(origins({})).toBe('http://127.0.0.1:8080,http://localhost:8080');
  expect(origins({ PUBLIC_URL: 'https://muster.example/x' })).toBe(
    'https://muster.example,http://127.0.0.1:8080,http://localhost:8080',
  );
});

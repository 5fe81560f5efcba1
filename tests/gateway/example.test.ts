import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { useTestStores } from '@muster/testkit/stores';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CALLBACK_SECRET, TOKEN_SECRET } from './fake-application.ts';
import { connected, sdk, startGateway, type TestGateway } from './fixture.ts';

const EXAMPLE = resolve(import.meta.dirname, '../../services/ws-gateway/examples/application.mjs');
const stores = useTestStores();
const stack = new AsyncDisposableStack();
let url = '';
let gateway: TestGateway;

beforeAll(async () => {
  const application = spawn(process.execPath, [EXAMPLE], {
    env: { PORT: '0', TOKEN_HMAC_SECRET: TOKEN_SECRET, CALLBACK_SECRET },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  stack.defer(() => void application.kill());
  const [line] = (await once(application.stdout, 'data')) as [Buffer];
  url = line.toString().trim();
  const file = join(tmpdir(), `muster-groups-${crypto.randomUUID()}.json`);
  const room = { name: 'room', permissive: true, subscribe_callback: true, publish_callback: true };
  await writeFile(file, JSON.stringify({ namespaces: [room] }));
  gateway = stack.use(
    await startGateway(stores, 'http://127.0.0.1:9', {
      TOKEN_HMAC_SECRET: TOKEN_SECRET,
      GROUPS_FILE: file,
      CALLBACK_SECRET,
      CALLBACK_SUBSCRIBE_URL: `${url}/muster/subscribe`,
      CALLBACK_PUBLISH_URL: `${url}/muster/publish`,
      CALLBACK_RPC_URL: `${url}/muster/rpc`,
      CALLBACK_TIMEOUT_MS: '30000',
    }),
  );
});
afterAll(() => stack.disposeAsync());

test('[AQ8] given the example application, when it is started as documented, then it issues tokens and answers callbacks', async () => {
  const getToken = async () => (await fetch(`${url}/token?user=ann`)).text();
  const client = await connected(sdk(gateway, { getToken }));
  expect((await client.rpc('whoami', null)).data).toEqual({ user: 'ann', plan: 'free' });
  const own = client.newSubscription('room:ann');
  const received = new Promise((done) => own.on('publication', ({ data }) => done(data)));
  own.subscribe();
  await own.ready(5_000);
  await own.publish({ text: '  hi  ' });
  expect(await received).toEqual({ text: 'hi' });
  await expect(own.publish({ text: 7 })).rejects.toMatchObject({ code: 400 });
  const other = client.newSubscription('room:bob');
  const refused = new Promise((done) => other.on('unsubscribed', done));
  other.subscribe();
  expect(await refused).toMatchObject({ code: 403, reason: 'subscription denied' });
  // It rejects requests without a valid signature.
  const forged = await fetch(`${url}/muster/rpc`, { method: 'POST', body: '{"method":"whoami"}' });
  expect(forged.status).toBe(401);
  client.disconnect();
});

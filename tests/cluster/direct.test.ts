import { expect, test } from 'vitest';
import { sdkClient, signInUser } from './clients.ts';
import { startDedicatedFleet } from './dedicated-fleet.ts';

const GATEWAYS = 2;
const CLIENTS = 24;

test.runIf(process.platform === 'linux')(
  '[LA37] with --direct clients of one port reach every gateway and receive what a back end publishes through the load balancer',
  async () => {
    await using fleet = await startDedicatedFleet({}, GATEWAYS, 1, 1, true);
    using stack = new DisposableStack();
    const description = fleet.describe();
    const { gatewayUrl = '', publicUrl, gateways } = description;
    expect(gateways.map(({ url }) => url)).toEqual([gatewayUrl, gatewayUrl]);
    expect(gatewayUrl).not.toBe(publicUrl);
    const { credential } = await signInUser(description, 'direct');
    const clients = await Promise.all(
      Array.from({ length: CLIENTS }, async () => stack.use(await sdkClient(gatewayUrl, credential))),
    );
    expect(new Set(clients.map((client) => client.gateway()))).toEqual(new Set(gateways.map(({ name }) => name)));

    const groups = await Promise.all(clients.map((client) => client.subscribe('news')));
    const received = groups.map(
      ({ subscription }) => new Promise((resolve) => subscription.once('publication', ({ data }) => resolve(data))),
    );
    const answer = await fetch(`${publicUrl}/api/publish`, {
      method: 'POST',
      headers: { 'x-api-key': description.serverApiKey },
      body: JSON.stringify({ channel: 'news', data: 'hello' }),
    });
    expect(answer.status).toBe(200);
    expect(new Set(await Promise.all(received))).toEqual(new Set(['hello']));
    const { status } = await fetch(`${publicUrl}/health`);
    expect(status).toBe(200);
  },
  120_000,
);

import { until } from '@muster/testkit/wait';
import { Centrifuge, type PublicationContext, type Subscription } from 'centrifuge';
import WebSocket from 'ws';

/** How a client signs in: by token in the connect command, or by cookie on the upgrade. */
export type Credential = { readonly token: string } | { readonly cookie: string };

/** A signed-in client, as `POST /v1/sessions` answered it. */
export interface SignedIn {
  readonly id: string;
  readonly credential: Credential;
}

/** Signs a user in as a back end would. */
export const signInUser = async (
  fleet: { readonly publicUrl: string; readonly serviceApiKey: string },
  user: string,
  transport: 'bearer' | 'cookie' = 'bearer',
): Promise<SignedIn> => {
  const answer = await fetch(`${fleet.publicUrl}/v1/sessions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${fleet.serviceApiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ user_id: user, transport }),
  });
  if (answer.status !== 201) throw new Error(`sign-in answered ${answer.status}: ${await answer.text()}`);
  const session = (await answer.json()) as { id: string; token?: string };
  const cookie = answer.headers.get('set-cookie')?.split(';')[0];
  const credential = session.token === undefined ? { cookie: cookie ?? '' } : { token: session.token };
  return { id: session.id, credential };
};

/** Ends a session over HTTP with its own credential. */
export const endOwnSession = (publicUrl: string, credential: Credential): Promise<Response> =>
  fetch(`${publicUrl}/v1/session`, { method: 'DELETE', headers: headersOf(credential, publicUrl) });

const headersOf = (credential: Credential, origin: string): Record<string, string> =>
  'token' in credential
    ? { authorization: `Bearer ${credential.token}` }
    : { cookie: credential.cookie, origin, 'sec-fetch-site': 'same-origin' };

const socketUrl = (publicUrl: string, path: string): string => publicUrl.replace(/^http/, 'ws') + path;

/** An SDK client and what it has received. */
export interface SdkClient extends Disposable {
  readonly client: Centrifuge;
  readonly gateway: () => string;
  readonly closes: { code: number; reason: string }[];
  subscribe(group: string): Promise<{ subscription: Subscription; received: PublicationContext[] }>;
}

/** Connects the npm package `centrifuge` and waits until it is connected. */
export const sdkClient = async (publicUrl: string, credential: Credential): Promise<SdkClient> => {
  const withHeaders = class extends WebSocket {
    constructor(url: string, protocols?: string | string[]) {
      super(url, protocols, 'cookie' in credential ? { headers: headersOf(credential, publicUrl) } : {});
    }
  };
  const client = new Centrifuge(socketUrl(publicUrl, '/connection/websocket'), {
    websocket: withHeaders,
    minReconnectDelay: 50,
    maxReconnectDelay: 500,
    ...('token' in credential ? { token: credential.token } : {}),
  });
  const closes: { code: number; reason: string }[] = [];
  let gateway = '';
  client.on('connected', ({ data }) => {
    gateway = data.gateway;
  });
  client.on('disconnected', ({ code, reason }) => closes.push({ code, reason }));
  client.connect();
  await client.ready(10_000);
  return {
    client,
    gateway: () => gateway,
    closes,
    subscribe: async (group) => {
      const subscription = client.newSubscription(group, {
        minResubscribeDelay: 50,
        maxResubscribeDelay: 500,
      });
      const received: PublicationContext[] = [];
      subscription.on('publication', (publication) => received.push(publication));
      subscription.subscribe();
      await subscription.ready(10_000);
      return { subscription, received };
    },
    [Symbol.dispose]: () => client.disconnect(),
  };
};

/** Connects two clients that are on different gateways; extra clients are closed again. */
export const onDifferentGateways = async (
  connect: readonly [() => Promise<SdkClient>, () => Promise<SdkClient>],
): Promise<[SdkClient, SdkClient]> => {
  const first = await connect[0]();
  return until(async () => [first, await connect[1]()] as [SdkClient, SdkClient], {
    ok: ([one, two]) => {
      const apart = one.gateway() !== two.gateway();
      if (!apart) two[Symbol.dispose]();
      return apart;
    },
    what: 'two clients on two gateways',
  });
};

/** A client without SDK and what it has received. */
export interface PlainClient extends Disposable {
  readonly socket: WebSocket;
  readonly received: string[];
  readonly closed: Promise<{ code: number; reason: string }>;
}

/** Opens `/ws?group=`; rejects when the upgrade is refused. */
export const plainClient = (publicUrl: string, group: string, credential: Credential): Promise<PlainClient> =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(socketUrl(publicUrl, `/ws?group=${encodeURIComponent(group)}`), {
      headers: headersOf(credential, publicUrl),
    });
    const received: string[] = [];
    const closed = Promise.withResolvers<{ code: number; reason: string }>();
    socket.on('message', (data) => received.push(String(data)));
    socket.on('close', (code, reason) => closed.resolve({ code, reason: String(reason) }));
    socket.once('error', reject);
    socket.once('open', () =>
      resolve({ socket, received, closed: closed.promise, [Symbol.dispose]: () => socket.close() }),
    );
  });

import type { Clock } from '@muster/kit/clock';
import { SYNTHETIC_CHECK_USER } from '@muster/protocol/ids';
import type { TenantHosts } from '@muster/session/tenant-hosts';
import { type GatewayConnection, openGatewayConnection } from './synthetic-check-connection.ts';

const GROUP = '$muster-journey';
const SESSION_LIFE_MS = 600_000;
const LIMIT_MS = 5_000;
/** How long the end of a session may take. */
const LEAVE_LIMIT_MS = 2_000;

/** The steps of a journey, in order. */
export const SYNTHETIC_CHECK_STEPS = ['session', 'connect', 'subscribe', 'publish', 'receive'] as const;
export type SyntheticCheckStep = (typeof SYNTHETIC_CHECK_STEPS)[number];

/** How a journey ended. */
export type SyntheticCheckResult =
  | {
      readonly ok: true;
      readonly durationMs: number;
      readonly steps: Readonly<Record<SyntheticCheckStep, number>>;
    }
  | { readonly ok: false; readonly step: SyntheticCheckStep; readonly why: string };

/** Where the journey leads. */
export interface SyntheticCheckPlan {
  /** Address of a session service. */
  readonly sessions: string;
  /** Addresses of the gateway that publishes and of the one that receives; the same where there is only one. */
  readonly from: string;
  readonly to: string;
}

/** A real client's way through the fleet: sign in, connect to two gateways, publish on one, receive on the other. */
export interface SyntheticCheckClient extends AsyncDisposable {
  /** Never rejects. Takes five seconds at most. */
  run(plan: SyntheticCheckPlan): Promise<SyntheticCheckResult>;
}

/** The session that the checks use. */
interface OwnSession {
  readonly id: string;
  /** Of the session service that opened it. */
  readonly address: string;
  readonly token: string;
  /** Where sessions of its tenant count; undefined for a tenant without hosts. */
  readonly host: string | undefined;
  /** When another one is opened, monotonic ms. */
  readonly until: number;
}

interface JourneyDeps {
  readonly clock: Clock;
  readonly apiKey: string;
  readonly tenantHosts: Pick<TenantHosts, 'hostOf'>;
}

/** Makes a traveller that signs in with a service API key. Its session lasts for ten minutes of journeys. */
export const createSyntheticCheckClient = ({
  clock,
  apiKey,
  tenantHosts,
}: JourneyDeps): SyntheticCheckClient => {
  let session: OwnSession | undefined;

  /** Ends the session in use. When that fails it ends by itself after minutes of silence. */
  const leave = async (signal: AbortSignal): Promise<void> => {
    const left = session;
    session = undefined;
    if (left === undefined) return;
    const ending = fetch(`http://${left.address}/v1/sessions/${left.id}`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${apiKey}` },
      signal,
    });
    await ending.then((response) => response.body?.cancel()).catch(() => {});
  };

  const signIn = async (address: string, signal: AbortSignal): Promise<OwnSession> => {
    if (session && clock.monotonic() < session.until) return session;
    await leave(signal);
    const { id, token, tenant } = await openSession(address, apiKey, signal);
    const host = tenantHosts.hostOf(tenant);
    session = { id, token, address, host, until: clock.monotonic() + SESSION_LIFE_MS };
    return session;
  };

  return {
    [Symbol.asyncDispose]: () => leave(AbortSignal.timeout(LEAVE_LIMIT_MS)),
    run: async ({ sessions, from, to }) => {
      const signal = AbortSignal.timeout(LIMIT_MS);
      const begun = clock.monotonic();
      const steps: Partial<Record<SyntheticCheckStep, number>> = {};
      let step: SyntheticCheckStep = 'session';
      using stack = new DisposableStack();
      const during = async <T>(name: SyntheticCheckStep, work: () => Promise<T>): Promise<T> => {
        step = name;
        const since = clock.monotonic();
        const result = await work();
        steps[name] = clock.monotonic() - since;
        return result;
      };
      try {
        const own = await during('session', () => signIn(sessions, signal));
        const [sender, receiver] = await during('connect', async () => {
          const links = await Promise.all([from, to].map((address) => link(address, own, signal)));
          for (const one of links) stack.use(one);
          return links as [GatewayConnection, GatewayConnection];
        });
        await during('subscribe', () => receiver.ask({ subscribe: { channel: GROUP } }));
        const mark = crypto.randomUUID();
        const received = receiver.published((data) => (data as { mark?: unknown } | null)?.mark === mark);
        received.catch(() => {}); // Awaited below; a failed publish must not leave it unheard.
        await during('publish', () => sender.ask({ publish: { channel: GROUP, data: { mark } } }));
        await during('receive', () => received);
        return {
          ok: true,
          durationMs: clock.monotonic() - begun,
          steps: steps as Record<SyntheticCheckStep, number>,
        };
      } catch (error) {
        // The session may be what is wrong; the next check gets a new one.
        await leave(AbortSignal.timeout(LEAVE_LIMIT_MS));
        return { ok: false, step, why: error instanceof Error ? error.message : String(error) };
      }
    },
  };
};

/** Opens a session in the tenant of the API key, else in `default`. */
const openSession = async (
  address: string,
  apiKey: string,
  signal: AbortSignal,
): Promise<{ readonly id: string; readonly tenant: string; readonly token: string }> => {
  const response = await fetch(`http://${address}/v1/sessions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      user_id: SYNTHETIC_CHECK_USER,
      transport: 'bearer',
      remember: false,
      // The shortest life that there is: fifteen minutes without use.
      policy: 'aal3',
      label: 'journey of the health aggregator',
      grants: [{ groups: GROUP, allow: ['subscribe', 'publish'] }],
    }),
    signal,
  });
  if (response.status !== 201) throw new Error(`status ${response.status}`);
  return (await response.json()) as { id: string; tenant: string; token: string };
};

const link = async (
  address: string,
  { token, host }: OwnSession,
  signal: AbortSignal,
): Promise<GatewayConnection> => {
  const one = await openGatewayConnection({ address, host }, signal);
  await one.ask({ connect: { token, name: 'muster-journey' } });
  return one;
};

import type { Clock } from '@muster/kit/clock';
import { SYNTHETIC_CHECK_USER } from '@muster/protocol/ids';
import type { TenantHosts } from '@muster/session/tenant-hosts';
import { type GatewayConnection, openGatewayConnection } from './synthetic-check-connection.ts';

const GROUP = '$muster-journey';
const SESSION_LIFETIME_MS = 600_000;
const TIMEOUT_MS = 5_000;
/** Timeout of the end of a session. */
const END_TIMEOUT_MS = 2_000;

/** Steps of a check, in order. */
export const SYNTHETIC_CHECK_STEPS = ['session', 'connect', 'subscribe', 'publish', 'receive'] as const;
export type SyntheticCheckStep = (typeof SYNTHETIC_CHECK_STEPS)[number];

/** Result of a check. */
export type SyntheticCheckResult =
  | {
      readonly ok: true;
      readonly durationMs: number;
      readonly steps: Readonly<Record<SyntheticCheckStep, number>>;
    }
  | { readonly ok: false; readonly step: SyntheticCheckStep; readonly why: string };

/** Addresses of a check. */
export interface SyntheticCheckPlan {
  /** Of a session service. */
  readonly sessions: string;
  /** Of the publishing and the receiving gateway; the same for a single gateway. */
  readonly from: string;
  readonly to: string;
}

interface CheckSession {
  readonly id: string;
  /** Of the session service that created it. */
  readonly address: string;
  readonly token: string;
  /** A host of its tenant; undefined for a tenant without hosts. */
  readonly host: string | undefined;
  /** Time of its replacement, monotonic ms. */
  readonly until: number;
}

interface SyntheticCheckDeps {
  readonly clock: Clock;
  readonly apiKey: string;
  readonly tenantHosts: Pick<TenantHosts, 'hostOf'>;
}

/**
 * Client of the synthetic check: creates a session with a service API key, connects to two gateways, publishes on one and receives
 * on the other. The session is used for ten minutes. Disposing ends it.
 */
export const createSyntheticCheckClient = ({ clock, apiKey, tenantHosts }: SyntheticCheckDeps) => {
  let session: CheckSession | undefined;

  /** Ends the session. If this fails it expires after some minutes without use. */
  const endSession = async (signal: AbortSignal): Promise<void> => {
    const ended = session;
    session = undefined;
    if (ended === undefined) return;
    const request = fetch(`http://${ended.address}/v1/sessions/${ended.id}`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${apiKey}` },
      signal,
    });
    await request.then((response) => response.body?.cancel()).catch(() => {});
  };

  const currentSession = async (address: string, signal: AbortSignal): Promise<CheckSession> => {
    if (session && clock.monotonic() < session.until) return session;
    await endSession(signal);
    const { id, token, tenant } = await createSession(address, apiKey, signal);
    const host = tenantHosts.hostOf(tenant);
    session = { id, token, address, host, until: clock.monotonic() + SESSION_LIFETIME_MS };
    return session;
  };

  return {
    [Symbol.asyncDispose]: () => endSession(AbortSignal.timeout(END_TIMEOUT_MS)),
    /** Runs a check within five seconds. Never rejects. */
    run: async ({ sessions, from, to }: SyntheticCheckPlan): Promise<SyntheticCheckResult> => {
      const signal = AbortSignal.timeout(TIMEOUT_MS);
      const startedAt = clock.monotonic();
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
        const own = await during('session', () => currentSession(sessions, signal));
        const [sender, receiver] = await during('connect', async () => {
          const connections = await Promise.all([from, to].map((address) => connect(address, own, signal)));
          for (const connection of connections) stack.use(connection);
          return connections as [GatewayConnection, GatewayConnection];
        });
        await during('subscribe', () => receiver.request({ subscribe: { channel: GROUP } }));
        const mark = crypto.randomUUID();
        const received = receiver.receive((data) => (data as { mark?: unknown } | null)?.mark === mark);
        received.catch(() => {}); // Awaited below, unless the publish fails.
        await during('publish', () => sender.request({ publish: { channel: GROUP, data: { mark } } }));
        await during('receive', () => received);
        return {
          ok: true,
          durationMs: clock.monotonic() - startedAt,
          steps: steps as Record<SyntheticCheckStep, number>,
        };
      } catch (error) {
        // The session may be the cause; the next check creates a new session.
        await endSession(AbortSignal.timeout(END_TIMEOUT_MS));
        return { ok: false, step, why: error instanceof Error ? error.message : String(error) };
      }
    },
  };
};

/** Creates a session in the tenant of the API key, else in `default`. */
const createSession = async (
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
      // The policy with the shortest lifetime: 15 minutes without use.
      policy: 'aal3',
      label: 'synthetic check of the health aggregator',
      grants: [{ groups: GROUP, allow: ['subscribe', 'publish'] }],
    }),
    signal,
  });
  if (response.status !== 201) throw new Error(`status ${response.status}`);
  return (await response.json()) as { id: string; tenant: string; token: string };
};

const connect = async (
  address: string,
  { token, host }: CheckSession,
  signal: AbortSignal,
): Promise<GatewayConnection> => {
  const connection = await openGatewayConnection({ address, host }, signal);
  await connection.request({ connect: { token, name: 'muster-journey' } });
  return connection;
};

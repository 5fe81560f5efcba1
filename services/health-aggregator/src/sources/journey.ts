import type { Clock } from '@muster/kit/clock';
import { type GatewayLink, openLink } from './gateway-link.ts';

const GROUP = '$muster-journey';
const USER = 'muster-journey';
const SESSION_LIFE_MS = 600_000;
const LIMIT_MS = 5_000;

/** The steps of a journey, in order. */
export const JOURNEY_STEPS = ['session', 'connect', 'subscribe', 'publish', 'receive'] as const;
export type JourneyStep = (typeof JOURNEY_STEPS)[number];

/** How a journey ended. */
export type JourneyResult =
  | { readonly ok: true; readonly durationMs: number; readonly steps: Readonly<Record<JourneyStep, number>> }
  | { readonly ok: false; readonly step: JourneyStep; readonly why: string };

/** Where the journey leads. */
export interface JourneyPlan {
  /** Address of a session service. */
  readonly sessions: string;
  /** Addresses of the gateway that publishes and of the one that receives; the same where there is only one. */
  readonly from: string;
  readonly to: string;
}

/** A real client's way through the fleet: sign in, connect to two gateways, publish on one, receive on the other. */
export interface Journey {
  /** Never rejects. Takes five seconds at most. */
  run(plan: JourneyPlan): Promise<JourneyResult>;
}

/** Makes a traveller that signs in with a service API key. Its session lasts for ten minutes of journeys. */
export const createJourney = ({ clock, apiKey }: { clock: Clock; apiKey: string }): Journey => {
  let session: { readonly token: string; readonly until: number } | undefined;

  const signIn = async (address: string, signal: AbortSignal): Promise<string> => {
    if (session && clock.monotonic() < session.until) return session.token;
    const response = await fetch(`http://${address}/v1/sessions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        user_id: USER,
        transport: 'bearer',
        label: 'journey of the health aggregator',
        grants: [{ groups: GROUP, allow: ['subscribe', 'publish'] }],
      }),
      signal,
    });
    if (response.status !== 201) throw new Error(`status ${response.status}`);
    const { token } = (await response.json()) as { token: string };
    session = { token, until: clock.monotonic() + SESSION_LIFE_MS };
    return token;
  };

  return {
    run: async ({ sessions, from, to }) => {
      const signal = AbortSignal.timeout(LIMIT_MS);
      const begun = clock.monotonic();
      const steps: Partial<Record<JourneyStep, number>> = {};
      let step: JourneyStep = 'session';
      using stack = new DisposableStack();
      const during = async <T>(name: JourneyStep, work: () => Promise<T>): Promise<T> => {
        step = name;
        const since = clock.monotonic();
        const result = await work();
        steps[name] = clock.monotonic() - since;
        return result;
      };
      try {
        const token = await during('session', () => signIn(sessions, signal));
        const [sender, receiver] = await during('connect', async () => {
          const links = await Promise.all([from, to].map((address) => link(address, token, signal)));
          for (const one of links) stack.use(one);
          return links as [GatewayLink, GatewayLink];
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
          steps: steps as Record<JourneyStep, number>,
        };
      } catch (error) {
        // The session may be what is wrong; the next journey gets a new one.
        session = undefined;
        return { ok: false, step, why: error instanceof Error ? error.message : String(error) };
      }
    },
  };
};

const link = async (address: string, token: string, signal: AbortSignal): Promise<GatewayLink> => {
  const one = await openLink(address, signal);
  await one.ask({ connect: { token, name: 'muster-journey' } });
  return one;
};

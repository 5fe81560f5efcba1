import { randomUUID } from 'node:crypto';
import { createRealtime } from '@muster/client/realtime';
import type { Context } from './command.ts';
import { errorText } from './error-text.ts';
import { adviceOnStores } from './fleet.ts';
import { endSession, withTemporarySession } from './temporary-session.ts';

const STEPS = ['login', 'connect', 'subscribe', 'publish', 'receive', 'revoke', 'closed'] as const;
type StepName = (typeof STEPS)[number];

/** Step of the synthetic check: passed, failed with advice, or skipped. */
export type Step = { readonly step: StepName } & (
  | { readonly state: 'ok'; readonly ms: number; readonly detail: string }
  | { readonly state: 'failed'; readonly ms: number; readonly detail: string; readonly advice: string }
  | { readonly state: 'skipped' }
);

const STEP_TIMEOUT_MS = 5_000;
/** Close code after the end of a session. */
const SESSION_ENDED = 4_501;

const ADVICE: Readonly<Record<StepName, string>> = {
  login:
    'check that --url is the load balancer, that --key (or MUSTER_API_KEY) is a service API key with the scope sessions:create, and that a session service is ready (GET /health)',
  connect:
    'check that the load balancer routes /connection/websocket to the gateways and lets upgrades pass, that a gateway is ready (GET /health), and that gateways and session services share SESSION_SECRETS and Redis',
  subscribe: 'check the namespaces in GROUPS_FILE of the gateways, and Redis',
  publish: 'check Redis: memory, ACL and whether it accepts writes (GET /health of a gateway)',
  receive:
    'check pub/sub of Redis: the ACL needs &* (or the prefix of the fleet), and all gateways the same REDIS_URL and REDIS_PREFIX',
  revoke: 'check Postgres, and that the key has the scope sessions:end',
  closed:
    'check that gateways receive the session bus: the same REDIS_URL and REDIS_PREFIX as the session services (/health of a gateway)',
};

/** Logs in, connects, publishes, receives, ends the session and expects the close. Stops at the first failed step. */
export const runSyntheticCheck = async (context: Context): Promise<Step[]> => {
  const steps: Step[] = [];
  const timed: Timed = async (step, work) => {
    const startedAt = performance.now();
    const ms = () => Math.round((performance.now() - startedAt) * 10) / 10;
    try {
      const detail = await withTimeout(work(), context.interruption());
      steps.push({ step, state: 'ok', ms: ms(), detail });
    } catch (error) {
      const failed = { step, state: 'failed', ms: ms(), detail: errorText(error) } as const;
      // A store that is down is the cause; the step only shows it.
      steps.push({ ...failed, advice: (await adviceOnStores(context.url)) ?? ADVICE[step] });
      throw new StepFailed();
    }
  };
  try {
    await runSteps(context, timed);
  } catch (error) {
    if (!(error instanceof StepFailed)) throw error;
  }
  return [...steps, ...STEPS.slice(steps.length).map((step) => ({ step, state: 'skipped' }) as const)];
};

/** Thrown after a failed step was recorded. */
class StepFailed extends Error {}

/** Runs a step and records it; `work` resolves with its detail. */
type Timed = (step: StepName, work: () => Promise<string>) => Promise<void>;

const runSteps = async (context: Context, timed: Timed): Promise<void> => {
  // A random private group: no other client receives the publication.
  const group = `$doctor:${randomUUID()}`;
  const grants = [{ groups: group, allow: ['subscribe', 'publish'] as const }];
  const done = Promise.withResolvers<void>();
  const login = Promise.withResolvers<{ readonly id: string; readonly token: string }>();
  const sessionEnded = withTemporarySession(context, { label: 'muster doctor', grants }, (session) => {
    login.resolve(session);
    return done.promise;
  });
  sessionEnded.catch(login.reject);
  try {
    await timed('login', async () => `session ${(await login.promise).id}`);
    await useSession(context, timed, { ...(await login.promise), group });
  } finally {
    done.resolve();
    // This ends the session also when a step before "revoke" failed.
    await sessionEnded.catch(() => undefined);
  }
};

const useSession = async (
  context: Context,
  timed: Timed,
  { id, token, group }: { id: string; token: string; group: string },
): Promise<void> => {
  const client = createRealtime({ baseUrl: context.url, token });
  const subscription = client.newSubscription(group);
  const text = randomUUID();
  const received = Promise.withResolvers<string>();
  const closed = Promise.withResolvers<string>();
  // Awaited late, or never after a failed step.
  received.promise.catch(() => undefined);
  closed.promise.catch(() => undefined);
  subscription.on('publication', ({ data }) => {
    if (data === text) received.resolve('the same text was received');
  });
  client.on('disconnected', ({ code, reason }) => {
    if (code === SESSION_ENDED) closed.resolve(`${code} ${reason}`);
    else closed.reject(new Error(`expected the close code ${SESSION_ENDED}, got ${code} (${reason})`));
  });
  try {
    await timed('connect', () => {
      const connected = Promise.withResolvers<string>();
      client.on('connected', ({ data }) => connected.resolve(String(data?.gateway ?? '')));
      client.on('error', ({ error }) => connected.reject(new Error(`${error.message} [${error.code}]`)));
      client.on('disconnected', ({ code, reason }) => connected.reject(new Error(`${reason} [${code}]`)));
      client.connect();
      return connected.promise;
    });
    await timed('subscribe', () => {
      const subscribed = Promise.withResolvers<string>();
      subscription.on('subscribed', () => subscribed.resolve(group));
      subscription.on('unsubscribed', ({ code, reason }) => subscribed.reject(new Error(`${reason} [${code}]`)));
      subscription.subscribe();
      return subscribed.promise;
    });
    await timed('publish', async () => {
      await subscription.publish(text);
      return 'accepted';
    });
    await timed('receive', () => received.promise);
    await timed('revoke', async () => {
      await endSession(context, id);
      return 'session ended';
    });
    await timed('closed', () => closed.promise);
  } finally {
    client.removeAllListeners();
    subscription.removeAllListeners();
    client.disconnect();
  }
};

const withTimeout = async <T>(work: Promise<T>, interruption: AbortSignal): Promise<T> => {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`timeout after ${STEP_TIMEOUT_MS} ms`)), STEP_TIMEOUT_MS);
  const onAbort = (): void => late.reject(new Error('interrupted'));
  interruption.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
    interruption.removeEventListener('abort', onAbort);
  }
};

import { randomUUID } from 'node:crypto';
import { MusterError } from '@muster/client/http';
import { createRealtime } from '@muster/client/realtime';
import type { Context } from './command.ts';
import { adviceOnStores } from './fleet.ts';
import { endSession, withTemporarySession } from './temporary-session.ts';

export const STEPS = ['login', 'connect', 'subscribe', 'publish', 'receive', 'revoke', 'closed'] as const;
export type StepName = (typeof STEPS)[number];

/** One step of the round trip: done, failed with what to do, or not reached. */
export type Step =
  | { readonly step: StepName; readonly state: 'ok'; readonly ms: number; readonly detail: string }
  | {
      readonly step: StepName;
      readonly state: 'failed';
      readonly ms: number;
      readonly detail: string;
      readonly advice: string;
    }
  | { readonly step: StepName; readonly state: 'skipped' };

const STEP_TIMEOUT_MS = 5_000;
/** The close code of a session that was ended. */
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
    'check that gateways hear the session bus: the same REDIS_URL and REDIS_PREFIX as the session services (/health of a gateway)',
};

/** Signs in, connects, publishes, receives, signs out and sees the socket close. Stops at the first step that fails. */
export const makeRoundTrip = async (context: Context): Promise<Step[]> => {
  const steps: Step[] = [];
  const timed = async <T>(step: StepName, work: () => Promise<readonly [T, string]>): Promise<T> => {
    const startedAt = performance.now();
    const ms = () => Math.round((performance.now() - startedAt) * 10) / 10;
    try {
      const [result, detail] = await inTime(work(), context.interruption());
      steps.push({ step, state: 'ok', ms: ms(), detail });
      return result;
    } catch (error) {
      if (error instanceof StepFailed) throw error;
      const failed = { step, state: 'failed', ms: ms(), detail: textOf(error) } as const;
      // A store that is down explains more than the step that noticed it.
      steps.push({ ...failed, advice: (await adviceOnStores(context.url)) ?? ADVICE[step] });
      throw new StepFailed();
    }
  };
  try {
    await travel(context, timed);
  } catch (error) {
    if (!(error instanceof StepFailed)) throw error;
  }
  const reached = new Set(steps.map(({ step }) => step));
  const skipped = STEPS.filter((step) => !reached.has(step)).map((step) => ({
    step,
    state: 'skipped' as const,
  }));
  return [...steps, ...skipped];
};

/** A step failed and has been noted. */
class StepFailed extends Error {}

type Timed = <T>(step: StepName, work: () => Promise<readonly [T, string]>) => Promise<T>;

const travel = async (context: Context, timed: Timed): Promise<void> => {
  // A private group of its own: what is tried here is seen by nobody else.
  const group = `$doctor:${randomUUID()}`;
  const grants = [{ groups: group, allow: ['subscribe', 'publish'] as const }];
  const done = Promise.withResolvers<void>();
  const login = Promise.withResolvers<readonly [{ id: string; token: string }, string]>();
  const holding = withTemporarySession(context, { label: 'muster doctor', grants }, (session) => {
    login.resolve([session, `session ${session.id}`]);
    return done.promise;
  });
  holding.catch(login.reject);
  try {
    const { id, token } = await timed('login', () => login.promise);
    await useSession(context, timed, { id, token, group });
  } finally {
    done.resolve();
    // The session is ended here too when a step before "revoke" failed.
    await holding.catch(() => undefined);
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
  const received = Promise.withResolvers<readonly [undefined, string]>();
  const closed = Promise.withResolvers<readonly [undefined, string]>();
  // Both are awaited late, or not at all when a step before fails.
  received.promise.catch(() => undefined);
  closed.promise.catch(() => undefined);
  subscription.on('publication', ({ data }) => {
    if (data === text) received.resolve([undefined, 'the same text came back']);
  });
  client.on('disconnected', ({ code, reason }) => {
    if (code === SESSION_ENDED) closed.resolve([undefined, `${code} ${reason}`]);
    else closed.reject(new Error(`closed with ${code} (${reason}) instead of ${SESSION_ENDED}`));
  });
  try {
    await timed('connect', () => {
      const connected = Promise.withResolvers<readonly [undefined, string]>();
      client.on('connected', ({ data }) => connected.resolve([undefined, String(data?.gateway ?? '')]));
      client.on('error', ({ error }) => connected.reject(new Error(`${error.message} [${error.code}]`)));
      client.on('disconnected', ({ code, reason }) => connected.reject(new Error(`${reason} [${code}]`)));
      client.connect();
      return connected.promise;
    });
    await timed('subscribe', () => {
      const subscribed = Promise.withResolvers<readonly [undefined, string]>();
      subscription.on('subscribed', () => subscribed.resolve([undefined, group]));
      subscription.on('unsubscribed', ({ code, reason }) =>
        subscribed.reject(new Error(`${reason} [${code}]`)),
      );
      subscription.subscribe();
      return subscribed.promise;
    });
    await timed('publish', async () => {
      await subscription.publish(text);
      return [undefined, 'accepted'];
    });
    await timed('receive', () => received.promise);
    await timed('revoke', async () => {
      await endSession(context, id);
      return [undefined, 'session ended'];
    });
    await timed('closed', () => closed.promise);
  } finally {
    client.removeAllListeners();
    subscription.removeAllListeners();
    client.disconnect();
  }
};

const inTime = async <T>(work: Promise<T>, interruption: AbortSignal): Promise<T> => {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`nothing came within ${STEP_TIMEOUT_MS} ms`)),
    STEP_TIMEOUT_MS,
  );
  const onAbort = (): void => late.reject(new Error('interrupted'));
  interruption.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
    interruption.removeEventListener('abort', onAbort);
  }
};

const textOf = (error: unknown): string => {
  if (error instanceof MusterError && error.requestId !== undefined) {
    return `${error.message} [${error.status} ${error.reason}] (request ${error.requestId})`;
  }
  if (error instanceof Error) return error.message;
  // The SDK rejects with `{ code, message }`; the advice of the step follows.
  const { message, code } = error as { message?: string; code?: number };
  return message === undefined ? String(error) : `${message} [${code}]`;
};

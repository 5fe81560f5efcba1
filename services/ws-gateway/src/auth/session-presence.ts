import { every, type Stop } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { PRESENCE_RENEW_MS, writeSessionPresence } from '@muster/session/session-presence';
import type { SessionRegistry } from './session-registry.ts';

interface SessionPresenceDeps {
  readonly redis: RedisConnections;
  readonly registry: Pick<SessionRegistry, 'takeChanged' | 'markChanged' | 'count' | 'ids'>;
  /** Id of this process in the registry of instances. */
  readonly gateway: string;
  readonly log: Logger;
}

const FLUSH_MS = 200;
/** Sessions written per flush: bounds the burst when all of them are renewed. */
const BATCH = 1_000;

/** Keeps in Redis how many sockets each session has at this gateway: changes within 200 ms, all of it every 45 s. */
export const createSessionPresenceWriter = (deps: SessionPresenceDeps): AsyncDisposable => {
  const { redis, registry, gateway, log } = deps;
  let running: Promise<void> | undefined;

  const flush = async (): Promise<void> => {
    const ids = registry.takeChanged(BATCH);
    if (ids.length === 0) return;
    try {
      const counts = ids.map((id) => [id, registry.count(id)] as const);
      await writeSessionPresence(redis, gateway, counts);
    } catch (error) {
      registry.markChanged(ids);
      log.debug({ error }, 'session.presence_failed');
    }
  };
  const tick = (): void => {
    running ??= flush().finally(() => {
      running = undefined;
    });
  };
  const stops: Stop[] = [
    every(FLUSH_MS, tick),
    every(PRESENCE_RENEW_MS, () => registry.markChanged(registry.ids())),
  ];
  return {
    [Symbol.asyncDispose]: async () => {
      for (const stop of stops) stop();
      await running;
      // Without it the entries stay until their end; they do not count, for this process sends no heartbeat any more.
      await flush();
    },
  };
};

import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { SessionId } from '@muster/session/token';
import type { Actor, ChangeStore } from './ports.ts';
import type { EndReason, SessionRecord } from './session.ts';

/** An old secret that somebody presented: the one before, after its grace, or an older one. */
export type ReuseKind = 'late' | 'stale';

/** Acts on secrets that were ours once. */
export interface ReuseDetector {
  /** Writes the log book and ends the session where the policy says so. Never rejects. */
  report(record: SessionRecord, kind: ReuseKind, presenter: Presenter): Promise<void>;
}

/** Who presented the old secret. */
export interface Presenter {
  readonly actor: Actor;
  readonly userAgent: string | null;
}

interface ReuseDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly store: Pick<ChangeStore, 'log'>;
  readonly end: (ids: readonly SessionId[], reason: EndReason, actor: Actor) => Promise<unknown>;
  readonly onReuse: (kind: ReuseKind, action: 'alert' | 'revoke') => void;
}

const QUIET_MS = 10_000;
const MAX_REMEMBERED = 10_000;

/** Tells of each session at most once in ten seconds, however often an old secret comes. */
export const createReuseDetector = (deps: ReuseDeps): ReuseDetector => {
  const toldAt = new Map<SessionId, number>();
  const isNews = (id: SessionId): boolean => {
    const now = deps.clock.monotonic();
    if (now - (toldAt.get(id) ?? Number.NEGATIVE_INFINITY) < QUIET_MS) return false;
    if (toldAt.size >= MAX_REMEMBERED) toldAt.clear();
    toldAt.set(id, now);
    return true;
  };
  return {
    report: async (record, kind, { actor, userAgent }) => {
      if (!isNews(record.id)) return;
      const action = actionFor(record, kind);
      deps.onReuse(kind, action);
      deps.log.warn({ session: record.id, kind, action }, 'session.reuse_detected');
      try {
        const detail = { kind, action, user_agent: userAgent, own_user_agent: record.about.client.userAgent };
        await deps.store.log(record.id, 'session.reuse_detected', actor, detail);
        if (action === 'revoke') await deps.end([record.id], 'reuse_detected', actor);
      } catch (error) {
        deps.log.warn({ error, session: record.id }, 'session.reuse_record_failed');
      }
    },
  };
};

/**
 * A secret that a raise of privileges retired only alerts: else whoever planted a guest session could end the
 * victim's. Otherwise an older secret ends the session, and above AAL 1 a late one does, too.
 */
export const actionFor = (
  record: Pick<SessionRecord, 'aal' | 'prevUntil' | 'rotatedAt'>,
  kind: ReuseKind,
): 'alert' | 'revoke' => {
  if (kind === 'stale') return 'revoke';
  const wasRaise = (record.prevUntil ?? 0) <= (record.rotatedAt ?? 0);
  return record.aal > 1 && !wasRaise ? 'revoke' : 'alert';
};

import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { SessionId } from '@muster/session/token';
import type { Actor, ChangeStore } from './ports.ts';
import type { EndReason, SessionRecord } from './session-record.ts';

/** A superseded secret that was presented: `late`, the previous one after its grace period, or `stale`, an older one. */
type ReuseKind = 'late' | 'stale';

/** Responds to the reuse of superseded secrets. */
export type ReuseDetector = ReturnType<typeof createReuseDetector>;

/** The client that presented the secret. */
interface Presenter {
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

const REPORT_INTERVAL_MS = 10_000;
const MAX_REMEMBERED = 10_000;

/** Reports each session at most once in ten seconds. */
export const createReuseDetector = (deps: ReuseDeps) => {
  const reportedAt = new Map<SessionId, number>();
  const isDue = (id: SessionId): boolean => {
    const now = deps.clock.monotonic();
    if (now - (reportedAt.get(id) ?? Number.NEGATIVE_INFINITY) < REPORT_INTERVAL_MS) return false;
    if (reportedAt.size >= MAX_REMEMBERED) reportedAt.clear();
    reportedAt.set(id, now);
    return true;
  };
  return {
    /** Writes the audit log and ends the session where the kind requires it. Never rejects. */
    report: async (record: SessionRecord, kind: ReuseKind, { actor, userAgent }: Presenter): Promise<void> => {
      if (!isDue(record.id)) return;
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
 * The response to a reuse. A secret that a step-up or upgrade retired only alerts, so that an attacker who planted a
 * guest session cannot end the victim's. Otherwise a stale secret ends the session, and a late one above AAL 1.
 */
export const actionFor = (
  record: Pick<SessionRecord, 'aal' | 'prevUntil' | 'rotatedAt'>,
  kind: ReuseKind,
): 'alert' | 'revoke' => {
  if (kind === 'stale') return 'revoke';
  const wasRaise = (record.prevUntil ?? 0) <= (record.rotatedAt ?? 0);
  return record.aal > 1 && !wasRaise ? 'revoke' : 'alert';
};

import type { Logger } from '@muster/kit/logger';
import type { SessionId } from '@muster/session/token';
import type { IpAnonymizer } from './ip-anonymization.ts';

/** The stored addresses of one session. */
export interface SessionAddresses {
  readonly id: SessionId;
  readonly ip: string | null;
  readonly lastIp: string | null;
}

/** The stored address of one event. */
export interface EventAddress {
  readonly id: string;
  /** Instant in Postgres' notation, to the microsecond. */
  readonly at: string;
  readonly ip: string | null;
}

/** Statements of the rewrite. Locked rows are skipped. */
export interface AddressStore {
  sessionsAfter(id: SessionId | undefined, limit: number): Promise<SessionAddresses[]>;
  eventsAfter(id: string, limit: number): Promise<EventAddress[]>;
  /** Resolves with the sessions that were rewritten. */
  rewriteSessions(rows: readonly SessionAddresses[]): Promise<SessionId[]>;
  rewriteEvents(rows: readonly EventAddress[]): Promise<number>;
}

interface AddressRewriteDeps {
  readonly now: () => number;
  readonly log: Logger;
  readonly addresses: IpAnonymizer;
  readonly store: AddressStore;
  /** Updates the snapshots of these sessions. */
  readonly refresh: (ids: readonly SessionId[]) => Promise<void>;
}

const BATCH = 500;
const BATCHES_PER_ROUND = 10;
/** Replicas with the previous setting may still write while a release rolls out. */
const PAUSE_AFTER_CHANGES_MS = 600_000;
const PAUSE_MS = 24 * 3_600_000;

interface Pass {
  session: SessionId | undefined;
  event: string;
  stage: 'sessions' | 'events' | 'end';
  rewritten: number;
  skipped: number;
}

const newPass = (): Pass => ({
  session: undefined,
  event: '0',
  stage: 'sessions',
  rewritten: 0,
  skipped: 0,
});

/**
 * Rewrites stored addresses to the strictness of the setting: walks all rows in batches, each in its own transaction,
 * at most ten per round; then pauses. Returns the round.
 */
export const createAddressRewrite = (deps: AddressRewriteDeps): (() => Promise<void>) => {
  let pass = newPass();
  let pausedUntil = Number.NEGATIVE_INFINITY;
  return async () => {
    if (deps.addresses.mode === 'full' || deps.now() < pausedUntil) return;
    for (let batch = 0; batch < BATCHES_PER_ROUND && pass.stage !== 'end'; batch += 1) {
      await (pass.stage === 'sessions' ? rewriteSessions(deps, pass) : rewriteEvents(deps, pass));
    }
    if (pass.stage !== 'end') return;
    const { rewritten, skipped } = pass;
    pausedUntil = deps.now() + pauseAfter(pass);
    if (rewritten > 0) {
      deps.log.info({ mode: deps.addresses.mode, rewritten, skipped }, 'session.addresses_rewritten');
    }
    pass = newPass();
  };
};

/** Skipped rows are tried again in the next round. */
const pauseAfter = ({ rewritten, skipped }: Pass): number => {
  if (skipped > 0) return 0;
  return rewritten > 0 ? PAUSE_AFTER_CHANGES_MS : PAUSE_MS;
};

const rewriteSessions = async ({ store, addresses, refresh }: AddressRewriteDeps, pass: Pass): Promise<void> => {
  const rows = await store.sessionsAfter(pass.session, BATCH);
  const changed = rows.flatMap((row) => {
    const [ip, lastIp] = [addresses.anonymize(row.ip), addresses.anonymize(row.lastIp)];
    return ip === row.ip && lastIp === row.lastIp ? [] : [{ id: row.id, ip, lastIp }];
  });
  if (changed.length > 0) {
    const ids = await store.rewriteSessions(changed);
    pass.rewritten += ids.length;
    pass.skipped += changed.length - ids.length;
    await refresh(ids);
  }
  pass.session = rows.at(-1)?.id;
  if (rows.length < BATCH) pass.stage = 'events';
};

const rewriteEvents = async ({ store, addresses }: AddressRewriteDeps, pass: Pass): Promise<void> => {
  const rows = await store.eventsAfter(pass.event, BATCH);
  const changed = rows.flatMap((row) => {
    const ip = addresses.anonymize(row.ip);
    return ip === row.ip ? [] : [{ ...row, ip }];
  });
  if (changed.length > 0) {
    const count = await store.rewriteEvents(changed);
    pass.rewritten += count;
    pass.skipped += changed.length - count;
  }
  pass.event = rows.at(-1)?.id ?? pass.event;
  if (rows.length < BATCH) pass.stage = 'end';
};

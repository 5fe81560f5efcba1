import type { Logger } from '@muster/kit/logger';
import type { SessionId } from '@muster/session/token';
import type { IpAnonymizer } from './ip-anonymization.ts';

/** What is stored of the addresses of one session. */
export interface SessionAddresses {
  readonly id: SessionId;
  readonly ip: string | null;
  readonly lastIp: string | null;
}

/** The address of one entry of the log book. */
export interface EventAddress {
  readonly id: string;
  /** As Postgres spells it, to the microsecond. */
  readonly at: string;
  readonly ip: string | null;
}

/** What the rewrite asks of Postgres. Rows that others hold are left out, not waited for. */
export interface AddressStore {
  sessionsAfter(id: SessionId | undefined, limit: number): Promise<SessionAddresses[]>;
  eventsAfter(id: string, limit: number): Promise<EventAddress[]>;
  /** Resolves with the sessions that were rewritten. */
  rewriteSessions(rows: readonly SessionAddresses[]): Promise<SessionId[]>;
  rewriteEvents(rows: readonly EventAddress[]): Promise<number>;
}

interface RewriteDeps {
  readonly now: () => number;
  readonly log: Logger;
  readonly addresses: IpAnonymizer;
  readonly store: AddressStore;
  /** Brings the copies of these sessions in the cache up to date. */
  readonly refresh: (ids: readonly SessionId[]) => Promise<void>;
}

const SLICE = 500;
const SLICES_PER_ROUND = 10;
/** Replicas that still have the earlier setting may go on writing while a release rolls out. */
const REST_AFTER_CHANGES_MS = 600_000;
const REST_MS = 24 * 3_600_000;

interface Pass {
  session: SessionId | undefined;
  event: string;
  at: 'sessions' | 'events' | 'end';
  rewritten: number;
  missed: number;
}

const newPass = (): Pass => ({ session: undefined, event: '0', at: 'sessions', rewritten: 0, missed: 0 });

/**
 * Makes stored addresses as strict as the setting asks: walks all rows in slices, each a transaction of its own,
 * a few in every round; and once more later. Returns the round.
 */
export const createAddressRewrite = (deps: RewriteDeps): (() => Promise<void>) => {
  let pass = newPass();
  let restsUntil = Number.NEGATIVE_INFINITY;
  return async () => {
    if (deps.addresses.mode === 'full' || deps.now() < restsUntil) return;
    await advance(deps, pass);
    if (pass.at !== 'end') return;
    restsUntil = deps.now() + restAfter(pass);
    report(deps, pass);
    pass = newPass();
  };
};

const advance = async (deps: RewriteDeps, pass: Pass): Promise<void> => {
  for (let slice = 0; slice < SLICES_PER_ROUND && pass.at !== 'end'; slice += 1) {
    await (pass.at === 'sessions' ? rewriteSessions(deps, pass) : rewriteEvents(deps, pass));
  }
};

/** Rows that somebody held are tried again at once. */
const restAfter = ({ rewritten, missed }: Pass): number => {
  if (missed > 0) return 0;
  return rewritten > 0 ? REST_AFTER_CHANGES_MS : REST_MS;
};

const report = ({ log, addresses }: RewriteDeps, { rewritten, missed }: Pass): void => {
  if (rewritten > 0) log.info({ mode: addresses.mode, rewritten, missed }, 'session.addresses_rewritten');
};

const rewriteSessions = async ({ store, addresses, refresh }: RewriteDeps, pass: Pass): Promise<void> => {
  const rows = await store.sessionsAfter(pass.session, SLICE);
  const strict = rows.flatMap((row) => {
    const [ip, lastIp] = [addresses.anonymize(row.ip), addresses.anonymize(row.lastIp)];
    return ip === row.ip && lastIp === row.lastIp ? [] : [{ id: row.id, ip, lastIp }];
  });
  if (strict.length > 0) {
    const ids = await store.rewriteSessions(strict);
    pass.rewritten += ids.length;
    pass.missed += strict.length - ids.length;
    await refresh(ids);
  }
  pass.session = rows.at(-1)?.id;
  if (rows.length < SLICE) pass.at = 'events';
};

const rewriteEvents = async ({ store, addresses }: RewriteDeps, pass: Pass): Promise<void> => {
  const rows = await store.eventsAfter(pass.event, SLICE);
  const strict = rows.flatMap((row) => {
    const ip = addresses.anonymize(row.ip);
    return ip === row.ip ? [] : [{ ...row, ip }];
  });
  if (strict.length > 0) {
    const count = await store.rewriteEvents(strict);
    pass.rewritten += count;
    pass.missed += strict.length - count;
  }
  pass.event = rows.at(-1)?.id ?? pass.event;
  if (rows.length < SLICE) pass.at = 'end';
};

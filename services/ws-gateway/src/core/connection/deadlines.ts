import type { Clock } from '@muster/kit/clock';
import type { GroupName } from '@muster/protocol/ids';

/** How long a subscription, or a connection by a token, outlives its expiry, so that the client can refresh its token. */
const EXPIRY_GRACE_MS = 25_000;
/** Interval at which a late pong is checked for while the ping may still be unread. */
export const PONG_CHECK_MS = 100;
/** A client that was active within this time is not probed. */
export const PROBE_INTERVAL_MS = 1_000;

/** The monotonic time of an instant in ms since the Unix epoch. */
export const monotonicAt = (clock: Clock, epochMs: number): number => clock.monotonic() + (epochMs - clock.now());

/** Deadlines of one live connection: ping and pong, expiry of its session or token and of its subscriptions. All in monotonic ms. */
export class Deadlines {
  readonly #clock: Clock;
  sessionEnd = Number.POSITIVE_INFINITY;
  /** Latest refresh of the token, or the end set by the server API. */
  refreshBy = Number.POSITIVE_INFINITY;
  #nextPingAt = 0;
  /** Time of the outstanding ping; 0: none. */
  #pingedAt = 0;
  /** Time of the last pong. */
  #answeredAt = 0;
  /** Expiry of subscriptions; undefined before the first that expires. */
  #groups: Map<GroupName, number> | undefined = undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Schedules the first ping of an accepted client. */
  startPings(now: number, firstAfterMs: number): void {
    this.#answeredAt = now;
    this.#nextPingAt = now + firstAfterMs;
  }

  get isPingOutstanding(): boolean {
    return this.#pingedAt !== 0;
  }

  isPingDue(now: number): boolean {
    return this.#pingedAt === 0 && now >= this.#nextPingAt;
  }

  isPongLate(now: number, timeoutMs: number): boolean {
    return this.#pingedAt !== 0 && now >= this.#pingedAt + timeoutMs;
  }

  /** True when a ping outside the interval is useful. */
  mayProbe(now: number): boolean {
    return this.#pingedAt === 0 && now - this.#answeredAt >= PROBE_INTERVAL_MS;
  }

  onPinged(now: number, intervalMs: number): void {
    this.#pingedAt = now;
    this.#nextPingAt = now + intervalMs;
  }

  /** Returns the round-trip time in ms. */
  onAnswered(now: number): number {
    const took = now - this.#pingedAt;
    this.#answeredAt = now;
    this.#pingedAt = 0;
    return took;
  }

  /** The session ends at `expiresAt`, in ms since the Unix epoch. */
  endSessionAt(expiresAt: number): void {
    this.sessionEnd = monotonicAt(this.#clock, expiresAt);
  }

  /** The token must be refreshed within a grace period after `expiresAt`, in ms since the Unix epoch. */
  refreshAt(expiresAt: number): void {
    this.refreshBy = monotonicAt(this.#clock, expiresAt) + EXPIRY_GRACE_MS;
  }

  /** The subscription ends after a grace period from `expiresAt` on, in ms since the Unix epoch. */
  expireGroup(group: GroupName, expiresAt: number): void {
    this.#groups ??= new Map();
    this.#groups.set(group, monotonicAt(this.#clock, expiresAt) + EXPIRY_GRACE_MS);
  }

  removeGroup(group: GroupName): void {
    this.#groups?.delete(group);
  }

  /** Expired subscriptions; each is returned once. */
  *takeExpired(now: number): Iterable<GroupName> {
    for (const [group, at] of this.#groups ?? []) {
      if (at > now) continue;
      this.#groups?.delete(group);
      yield group;
    }
  }

  /** The next deadline. */
  next(now: number, pongTimeoutMs: number): number {
    const pongBy = Math.max(this.#pingedAt + pongTimeoutMs, now + PONG_CHECK_MS);
    const ping = this.#pingedAt === 0 ? this.#nextPingAt : pongBy;
    return Math.min(ping, this.sessionEnd, this.refreshBy, ...(this.#groups?.values() ?? []));
  }
}

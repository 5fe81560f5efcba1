import type { GroupName } from '@muster/protocol/ids';

/** How long a membership, or a connection by a token, outlives its time, so that the client can come with a new token. */
export const EXPIRY_GRACE_MS = 25_000;
/** How often a late pong is looked for while the ping may still be on its way. */
export const PONG_LOOK_MS = 100;
/** A sign of life that is not older is not asked for again. */
export const PROBE_AGAIN_MS = 1_000;

/** What is due for one live connection, and when: pings and pongs, the end of its session or token, and of its memberships. All times are monotonic ms. */
export class Deadlines {
  /** The end of the session. */
  sessionEnd = Number.POSITIVE_INFINITY;
  /** By when the client must have come with another token, or a back end wants it to end. */
  refreshBy = Number.POSITIVE_INFINITY;
  #nextPingAt = 0;
  /** When the outstanding ping was sent; 0 for none. */
  #pingedAt = 0;
  /** When the client last gave a sign of life that was asked for. */
  #answeredAt = 0;
  /** When memberships run out; undefined while none does. */
  #groups: Map<GroupName, number> | undefined = undefined;

  /** The client has come in; its first ping is due later. */
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

  /** Whether a sign of life may be asked for outside the interval. */
  mayProbe(now: number): boolean {
    return this.#pingedAt === 0 && now - this.#answeredAt >= PROBE_AGAIN_MS;
  }

  onPinged(now: number, intervalMs: number): void {
    this.#pingedAt = now;
    this.#nextPingAt = now + intervalMs;
  }

  /** Answers how long the client took, in ms. */
  onAnswered(now: number): number {
    const took = now - this.#pingedAt;
    this.#answeredAt = now;
    this.#pingedAt = 0;
    return took;
  }

  expireGroup(group: GroupName, at: number): void {
    this.#groups ??= new Map();
    this.#groups.set(group, at);
  }

  forgetGroup(group: GroupName): void {
    this.#groups?.delete(group);
  }

  /** Memberships whose time is over; they are given once. */
  *takeExpired(now: number): Iterable<GroupName> {
    for (const [group, at] of this.#groups ?? []) {
      if (at > now) continue;
      this.#groups?.delete(group);
      yield group;
    }
  }

  /** When something is due next. */
  next(now: number, pongTimeoutMs: number): number {
    const pongBy = Math.max(this.#pingedAt + pongTimeoutMs, now + PONG_LOOK_MS);
    const ping = this.#pingedAt === 0 ? this.#nextPingAt : pongBy;
    return Math.min(ping, this.sessionEnd, this.refreshBy, ...(this.#groups?.values() ?? []));
  }
}

import { Degradation } from './degradation.ts';
import type {
  DependencyReading,
  InstanceState,
  ObservedHeartbeat,
  ProbeOutcome,
  ProbeResult,
  Transition,
} from './ports.ts';

const HARD_EVIDENCE: ReadonlySet<ProbeOutcome> = new Set(['refused', 'reset']);
const REMEMBER_DOWN_MS = 600_000;
const HARD_FAILURES = 2;
const SOFT_FAILURES = 3;
const SOFT_FAILURES_WITHOUT_BEAT = 2;
const FAST_PROBES = 3;

/** What the fleet as a whole says about how far a single piece of evidence may be believed. */
export interface EvidencePolicy {
  /** False while the registry is not readable or plainly wrong: a late heartbeat then says nothing about an instance. */
  readonly areHeartbeatsReliable: boolean;
  /** True while many instances fail softly at once: presume the network or this observer, and hold back `down`. */
  readonly holdsDown: boolean;
}

/** Probe periods by state, ms. */
export interface CheckIntervals {
  readonly normalMs: number;
  readonly fastMs: number;
  readonly downMs: number;
}

/** How long things must last to count. */
export interface FailureThresholds {
  /** An older heartbeat is late. */
  readonly heartbeatLateMs: number;
  /** Degraded until nothing was wrong for so long. */
  readonly degradedClearMs: number;
  /** Down until good probes lie so far apart. */
  readonly recoveryMs: number;
}

/** At the default intervals of heartbeats and probes. */
export const DEFAULT_THRESHOLDS: FailureThresholds = {
  heartbeatLateMs: 5_000,
  degradedClearMs: 15_000,
  recoveryMs: 3_000,
};

/**
 * Everything this observer knows about one instance, and the state that follows from it.
 * Times are monotonic ms. The table of transitions is in SPEC.md (rules IS1 to IS15).
 */
export class InstanceMonitor {
  readonly id: string;
  #heartbeat: ObservedHeartbeat;
  #beatAt: number;
  /** What it last said of itself, in a heartbeat or in its health body. */
  #says: ObservedHeartbeat['state'];
  #saidAt: number;
  #state: InstanceState = 'starting';
  #since: number;
  #evidenceSince: number;
  #why = 'seen';
  #resume: InstanceState = 'starting';
  #strainedAt: number;
  #failures = 0;
  #hardFailures = 0;
  #oks = 0;
  #firstOkAt = 0;
  /** When the first of the probes in a row that failed was begun. */
  #failingSince = 0;
  #lastGoodAt: number;
  /** Whether it has ever been in the index of the registry, and whether it was taken out of it again. */
  #registered = false;
  #unlisted = false;
  #probe: { result: ProbeResult; at: number } | undefined;
  #dependencies: { readings: Readonly<Record<string, DependencyReading>>; at: number } | undefined;
  readonly #strain = new Degradation();
  readonly #patience: FailureThresholds;

  constructor(heartbeat: ObservedHeartbeat, heartbeatAt: number, now: number, patience: FailureThresholds) {
    this.#patience = patience;
    this.id = heartbeat.id;
    this.#heartbeat = heartbeat;
    this.#beatAt = heartbeatAt;
    this.#says = heartbeat.state;
    this.#saidAt = heartbeatAt;
    this.#since = now;
    this.#evidenceSince = now;
    this.#lastGoodAt = heartbeatAt;
    this.#strainedAt = now;
    this.#take(heartbeat, heartbeatAt);
  }

  get heartbeat(): ObservedHeartbeat {
    return this.#heartbeat;
  }
  get state(): InstanceState {
    return this.#state;
  }
  get why(): string {
    return this.#why;
  }
  get since(): number {
    return this.#since;
  }
  /** When the first evidence of the present state was gathered: damping comes after it. */
  get evidenceSince(): number {
    return this.#evidenceSince;
  }
  get heartbeatAt(): number {
    return this.#beatAt;
  }
  get probe(): { readonly result: ProbeResult; readonly at: number } | undefined {
    return this.#probe;
  }
  get dependencies(): {
    readonly readings: Readonly<Record<string, DependencyReading>>;
    readonly at: number;
  } {
    return this.#dependencies ?? { readings: this.#heartbeat.dependencies, at: this.#beatAt };
  }
  /** Says that it cannot use something that it depends on. */
  get missesDependency(): boolean {
    return Object.values(this.dependencies.readings).some(({ status }) => status === 'down');
  }
  /** When anything was last learnt about this instance, good or bad. */
  get evidenceAt(): number {
    return Math.max(this.#beatAt, this.#probe?.at ?? 0);
  }
  /** Answers probes right now, whatever its heartbeats do. */
  get isAnswering(): boolean {
    return this.#oks > 0;
  }

  /** Takes a heartbeat made at `beatAt`; the same heartbeat read again, or an older one, changes nothing. */
  recordHeartbeat(heartbeat: ObservedHeartbeat, beatAt: number): void {
    if (heartbeat.beatAt === this.#heartbeat.beatAt || beatAt < this.#beatAt) return;
    this.#heartbeat = heartbeat;
    this.#beatAt = beatAt;
    this.#lastGoodAt = Math.max(this.#lastGoodAt, beatAt);
    this.#take(heartbeat, beatAt);
  }

  #take(heartbeat: ObservedHeartbeat, at: number): void {
    if (at >= this.#saidAt) {
      this.#says = heartbeat.state;
      this.#saidAt = at;
    }
    this.#strain.recordHeartbeat(heartbeat, at);
    if (!this.#dependencies || at >= this.#dependencies.at) {
      this.#dependencies = { readings: heartbeat.dependencies, at };
    }
  }

  /** Tells whether the registry still lists it. */
  recordListing(isListed: boolean): void {
    if (isListed) this.#registered = true;
    this.#unlisted = this.#registered && !isListed;
  }

  /** Takes the end of a probe. */
  recordProbe(result: ProbeResult, now: number): void {
    this.#probe = { result, at: now };
    if (result.state) {
      this.#says = result.state;
      this.#saidAt = now;
    }
    if (result.dependencies) this.#dependencies = { readings: result.dependencies, at: now };
    if (result.outcome === 'ok') {
      if (this.#oks === 0) this.#firstOkAt = now;
      this.#oks += 1;
      this.#failures = 0;
      this.#hardFailures = 0;
      this.#lastGoodAt = now;
      this.#strain.recordProbe(result.durationMs, result.dependencies);
      return;
    }
    this.#oks = 0;
    if (this.#failures === 0) this.#failingSince = now - result.durationMs;
    this.#failures += 1;
    this.#hardFailures = HARD_EVIDENCE.has(result.outcome) ? this.#hardFailures + 1 : 0;
  }

  /** Ends the watch at once: a newer incarnation took its place, or it said good-bye. */
  end(why: string, now: number): Transition | undefined {
    return this.#state === 'gone' ? undefined : this.#move('gone', why, now);
  }

  /** Draws the consequence of all evidence; call on every tick. */
  evaluate(now: number, trust: EvidencePolicy): Transition | undefined {
    if (this.#strain.causeAt(now)) this.#strainedAt = now;
    if (this.#says === 'draining' && this.#state !== 'draining' && this.#state !== 'gone') {
      return this.#move('draining', 'says_draining', now);
    }
    // It took itself out and no longer answers. Unlisted alone may also mean that the registry was emptied.
    if (this.#unlisted && this.#state !== 'gone' && (this.#failures > 0 || this.#state === 'draining')) {
      return this.#move('gone', 'left', now);
    }
    switch (this.#state) {
      case 'starting':
        return this.#fromStarting(now, trust);
      case 'up':
      case 'degraded':
        return this.#fromServing(now, trust);
      case 'suspect':
        return this.#fromSuspect(now, trust);
      case 'down':
        return this.#fromDown(now, trust);
      case 'draining':
        return this.#fromDraining(now, trust);
      case 'gone':
        return undefined;
      default:
        return this.#state satisfies never;
    }
  }

  /** How often to probe it now. */
  probePeriodMs(paces: CheckIntervals): number {
    if (this.#state === 'starting') return paces.fastMs;
    // Whoever answers or heartbeats again should not wait for being believed.
    const returns = this.#oks > 0 || this.#beatAt > this.#since;
    if (this.#state === 'down') return returns ? paces.fastMs : paces.downMs;
    return this.#failures > 0 && this.#failures <= FAST_PROBES ? paces.fastMs : paces.normalMs;
  }

  #beatFresh(now: number, trust: EvidencePolicy): boolean {
    return !trust.areHeartbeatsReliable || now - this.#beatAt <= this.#patience.heartbeatLateMs;
  }

  #fromStarting(now: number, trust: EvidencePolicy): Transition | undefined {
    const saysReady = this.#says === 'ready' || this.#says === 'degraded';
    if (this.#oks >= 2 || (this.#oks === 1 && saysReady)) return this.#serve('ready', now);
    // A process that is starting may answer 503 or nothing for a while; silence of its heartbeats as well is an end.
    const lost = this.#hardFailures >= HARD_FAILURES && saysReady;
    if (lost || (this.#failures > 0 && !this.#beatFresh(now, trust))) return this.#fall(now);
    return undefined;
  }

  #fromServing(now: number, trust: EvidencePolicy): Transition | undefined {
    if (this.#failures > 0) return this.#suspect(this.#outcome(), now);
    if (!this.#beatFresh(now, trust)) return this.#suspect('beat_late', now);
    const strain = this.#strain.causeAt(now);
    if (this.#state === 'up' && strain) return this.#move('degraded', strain, now);
    if (this.#state === 'degraded' && !strain && now - this.#strainedAt >= this.#patience.degradedClearMs) {
      return this.#move('up', 'recovered', now);
    }
    if (strain && this.#state === 'degraded') this.#why = strain;
    return undefined;
  }

  #fromSuspect(now: number, trust: EvidencePolicy): Transition | undefined {
    const beatFresh = this.#beatFresh(now, trust);
    if (this.#oks > 0 && beatFresh) {
      return this.#resume === 'degraded'
        ? this.#move('degraded', this.#why, now)
        : this.#serve('recovered', now);
    }
    if (this.#hardFailures >= HARD_FAILURES) return this.#fall(now);
    const enough = beatFresh ? SOFT_FAILURES : SOFT_FAILURES_WITHOUT_BEAT;
    return this.#failures >= enough && !trust.holdsDown ? this.#fall(now) : undefined;
  }

  #fromDown(now: number, trust: EvidencePolicy): Transition | undefined {
    const steady = this.#oks >= 2 && now - this.#firstOkAt >= this.#patience.recoveryMs;
    if (steady && this.#beatFresh(now, trust)) return this.#serve('recovered', now);
    return now - this.#since >= REMEMBER_DOWN_MS ? this.#move('gone', 'forgotten', now) : undefined;
  }

  #fromDraining(now: number, trust: EvidencePolicy): Transition | undefined {
    if (this.#says !== 'draining') {
      // That it was not ready was its duty, not a failure.
      this.#failures = 0;
      this.#hardFailures = 0;
      return this.#serve('resumed', now);
    }
    // Its last heartbeat said draining, so silence is the normal end; a refused connection confirms it without Redis.
    const silent = trust.areHeartbeatsReliable && now - this.#beatAt > this.#patience.heartbeatLateMs;
    const closed = this.#hardFailures >= HARD_FAILURES && now - this.#beatAt > this.#patience.heartbeatLateMs;
    return silent || closed ? this.#move('gone', 'left', now) : undefined;
  }

  #serve(why: string, now: number): Transition {
    const strain = this.#strain.causeAt(now);
    return strain ? this.#move('degraded', strain, now) : this.#move('up', why, now);
  }

  #suspect(why: string, now: number): Transition {
    this.#resume = this.#state;
    return this.#move('suspect', why, now);
  }

  #fall(now: number): Transition {
    return this.#move('down', this.#outcome(), now);
  }

  #outcome(): string {
    return this.#probe?.result.outcome ?? 'beat_late';
  }

  #firstEvidence(from: InstanceState, to: InstanceState, now: number): number {
    const isBad = to === 'suspect' || to === 'down';
    if (isBad) return this.#failures > 0 ? this.#failingSince : now;
    const isBack = to === 'up' && (from === 'suspect' || from === 'down');
    return isBack && this.#oks > 0 ? this.#firstOkAt : now;
  }

  #move(to: InstanceState, why: string, now: number): Transition {
    const from = this.#state;
    this.#state = to;
    this.#since = now;
    this.#evidenceSince = this.#firstEvidence(from, to, now);
    this.#why = why;
    if (to === 'down') this.#oks = 0;
    const { id, service, name } = this.#heartbeat;
    return { id, service, name, from, to, why, afterMs: Math.max(0, now - this.#lastGoodAt) };
  }
}

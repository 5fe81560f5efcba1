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
const LIST_DOWN_MS = 600_000;
const HARD_FAILURES = 2;
const SOFT_FAILURES = 3;
const SOFT_FAILURES_WITHOUT_HEARTBEAT = 2;
const FAST_PROBES = 3;

/** How far a single piece of evidence counts, as the fleet as a whole shows. */
export interface EvidencePolicy {
  /** False while the registry is unreadable or inconsistent: a late heartbeat is then no evidence. */
  readonly areHeartbeatsReliable: boolean;
  /** True while many instances fail softly at once: the network or this observer is presumed faulty, and `down` is held back. */
  readonly holdsDown: boolean;
}

/** Probe intervals by state, ms. */
export interface CheckIntervals {
  readonly normalMs: number;
  /** After a failure. */
  readonly fastMs: number;
  readonly downMs: number;
}

/** Durations after which evidence counts. */
export interface FailureThresholds {
  /** An older heartbeat is late. */
  readonly heartbeatLateMs: number;
  /** Time without any cause of degradation until an instance is up again. */
  readonly degradedClearMs: number;
  /** Least time between two successful probes until an instance that was down is up again. */
  readonly recoveryMs: number;
}

/** For the default intervals of heartbeats and probes. */
export const DEFAULT_THRESHOLDS: FailureThresholds = {
  heartbeatLateMs: 5_000,
  degradedClearMs: 15_000,
  recoveryMs: 3_000,
};

/**
 * All evidence of this observer about one instance, and the state that follows from it. Times in monotonic ms. The transitions are
 * listed in SPEC.md (rules IS1 to IS18).
 */
export class InstanceMonitor {
  readonly id: string;
  #heartbeat: ObservedHeartbeat;
  #heartbeatAt: number;
  /** The state it last reported, in a heartbeat or in its health body. */
  #reportedState: ObservedHeartbeat['state'];
  #reportedAt: number;
  #state: InstanceState = 'starting';
  #since: number;
  #evidenceSince: number;
  #why = 'seen';
  #stateBeforeSuspect: InstanceState = 'starting';
  #degradedAt: number;
  #failures = 0;
  #hardFailures = 0;
  #successes = 0;
  #firstSuccessAt = 0;
  /** Start of the first of the consecutive failed probes. */
  #failingSince = 0;
  #lastGoodAt: number;
  /** True once it was in the index of the registry. */
  #wasListed = false;
  /** True when it was removed from the index afterwards. */
  #isUnlisted = false;
  #probe: { result: ProbeResult; at: number } | undefined;
  #dependencies: { readings: Readonly<Record<string, DependencyReading>>; at: number } | undefined;
  readonly #degradation = new Degradation();
  readonly #thresholds: FailureThresholds;

  constructor(heartbeat: ObservedHeartbeat, heartbeatAt: number, now: number, thresholds: FailureThresholds) {
    this.#thresholds = thresholds;
    this.id = heartbeat.id;
    this.#heartbeat = heartbeat;
    this.#heartbeatAt = heartbeatAt;
    this.#reportedState = heartbeat.state;
    this.#reportedAt = heartbeatAt;
    this.#since = now;
    this.#evidenceSince = now;
    this.#lastGoodAt = heartbeatAt;
    this.#degradedAt = now;
    this.#applyHeartbeat(heartbeat, heartbeatAt);
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
  /** Time of the first evidence of the present state; the transition may be later. */
  get evidenceSince(): number {
    return this.#evidenceSince;
  }
  get heartbeatAt(): number {
    return this.#heartbeatAt;
  }
  get probe(): { readonly result: ProbeResult; readonly at: number } | undefined {
    return this.#probe;
  }
  get dependencies(): {
    readonly readings: Readonly<Record<string, DependencyReading>>;
    readonly at: number;
  } {
    return this.#dependencies ?? { readings: this.#heartbeat.dependencies, at: this.#heartbeatAt };
  }
  /** True when it reports a dependency as down. */
  get missesDependency(): boolean {
    return Object.values(this.dependencies.readings).some(({ status }) => status === 'down');
  }
  /** Time of the last evidence, good or bad. */
  get evidenceAt(): number {
    return Math.max(this.#heartbeatAt, this.#probe?.at ?? 0);
  }
  /** True when the last probe succeeded, independent of heartbeats. */
  get isAnswering(): boolean {
    return this.#successes > 0;
  }

  /** Records a heartbeat received at `at`; one that was recorded before, or an older one, is ignored. */
  recordHeartbeat(heartbeat: ObservedHeartbeat, beatAt: number): void {
    if (heartbeat.beatAt === this.#heartbeat.beatAt || beatAt < this.#heartbeatAt) return;
    this.#heartbeat = heartbeat;
    this.#heartbeatAt = beatAt;
    this.#lastGoodAt = Math.max(this.#lastGoodAt, beatAt);
    this.#applyHeartbeat(heartbeat, beatAt);
  }

  #applyHeartbeat(heartbeat: ObservedHeartbeat, at: number): void {
    if (at >= this.#reportedAt) {
      this.#reportedState = heartbeat.state;
      this.#reportedAt = at;
    }
    this.#degradation.recordHeartbeat(heartbeat, at);
    if (!this.#dependencies || at >= this.#dependencies.at) {
      this.#dependencies = { readings: heartbeat.dependencies, at };
    }
  }

  /** Records whether the index of the registry contains it. */
  recordListing(isListed: boolean): void {
    if (isListed) this.#wasListed = true;
    this.#isUnlisted = this.#wasListed && !isListed;
  }

  /** Records the result of a probe. */
  recordProbe(result: ProbeResult, now: number): void {
    this.#probe = { result, at: now };
    if (result.state) {
      this.#reportedState = result.state;
      this.#reportedAt = now;
    }
    if (result.dependencies) this.#dependencies = { readings: result.dependencies, at: now };
    if (result.outcome === 'ok') {
      if (this.#successes === 0) this.#firstSuccessAt = now;
      this.#successes += 1;
      this.#failures = 0;
      this.#hardFailures = 0;
      this.#lastGoodAt = now;
      this.#degradation.recordProbe(result.durationMs, result.dependencies);
      return;
    }
    this.#successes = 0;
    if (this.#failures === 0) this.#failingSince = now - result.durationMs;
    this.#failures += 1;
    this.#hardFailures = HARD_EVIDENCE.has(result.outcome) ? this.#hardFailures + 1 : 0;
  }

  /** Moves to `gone` at once, for example because a newer incarnation replaces it. */
  end(why: string, now: number): Transition | undefined {
    return this.#state === 'gone' ? undefined : this.#move('gone', why, now);
  }

  /** Applies all evidence; call it on every tick. */
  evaluate(now: number, policy: EvidencePolicy): Transition | undefined {
    if (this.#degradation.causeAt(now)) this.#degradedAt = now;
    if (this.#reportedState === 'draining' && this.#state !== 'draining' && this.#state !== 'gone') {
      return this.#move('draining', 'says_draining', now);
    }
    // It deregistered and fails probes. Without the latter the registry may have been emptied.
    if (this.#isUnlisted && this.#state !== 'gone' && (this.#failures > 0 || this.#state === 'draining')) {
      return this.#move('gone', 'left', now);
    }
    switch (this.#state) {
      case 'starting':
        return this.#fromStarting(now, policy);
      case 'up':
      case 'degraded':
        return this.#fromServing(now, policy);
      case 'suspect':
        return this.#fromSuspect(now, policy);
      case 'down':
        return this.#fromDown(now, policy);
      case 'draining':
        return this.#fromDraining(now, policy);
      case 'gone':
        return undefined;
      default:
        return this.#state satisfies never;
    }
  }

  /** Present probe interval, ms. */
  probePeriodMs(intervals: CheckIntervals): number {
    if (this.#state === 'starting') return intervals.fastMs;
    // An instance that may have recovered is probed often.
    const isRecovering = this.#successes > 0 || this.#heartbeatAt > this.#since;
    if (this.#state === 'down') return isRecovering ? intervals.fastMs : intervals.downMs;
    return this.#failures > 0 && this.#failures <= FAST_PROBES ? intervals.fastMs : intervals.normalMs;
  }

  #isHeartbeatFresh(now: number, policy: EvidencePolicy): boolean {
    return !policy.areHeartbeatsReliable || now - this.#heartbeatAt <= this.#thresholds.heartbeatLateMs;
  }

  #fromStarting(now: number, policy: EvidencePolicy): Transition | undefined {
    const reportsReady = this.#reportedState === 'ready' || this.#reportedState === 'degraded';
    if (this.#successes >= 2 || (this.#successes === 1 && reportsReady)) return this.#toServing('ready', now);
    // A starting process may answer 503 or nothing for a while; it is down when its heartbeats are missing too.
    const isLost = this.#hardFailures >= HARD_FAILURES && reportsReady;
    if (isLost || (this.#failures > 0 && !this.#isHeartbeatFresh(now, policy))) return this.#toDown(now);
    return undefined;
  }

  #fromServing(now: number, policy: EvidencePolicy): Transition | undefined {
    if (this.#failures > 0) return this.#toSuspect(this.#outcome(), now);
    if (!this.#isHeartbeatFresh(now, policy)) return this.#toSuspect('beat_late', now);
    const cause = this.#degradation.causeAt(now);
    if (this.#state === 'up' && cause) return this.#move('degraded', cause, now);
    if (this.#state === 'degraded' && !cause && now - this.#degradedAt >= this.#thresholds.degradedClearMs) {
      return this.#move('up', 'recovered', now);
    }
    if (cause && this.#state === 'degraded') this.#why = cause;
    return undefined;
  }

  #fromSuspect(now: number, policy: EvidencePolicy): Transition | undefined {
    const isHeartbeatFresh = this.#isHeartbeatFresh(now, policy);
    if (this.#successes > 0 && isHeartbeatFresh) {
      return this.#stateBeforeSuspect === 'degraded'
        ? this.#move('degraded', this.#why, now)
        : this.#toServing('recovered', now);
    }
    if (this.#hardFailures >= HARD_FAILURES) return this.#toDown(now);
    const needed = isHeartbeatFresh ? SOFT_FAILURES : SOFT_FAILURES_WITHOUT_HEARTBEAT;
    return this.#failures >= needed && !policy.holdsDown ? this.#toDown(now) : undefined;
  }

  #fromDown(now: number, policy: EvidencePolicy): Transition | undefined {
    const isStable = this.#successes >= 2 && now - this.#firstSuccessAt >= this.#thresholds.recoveryMs;
    if (isStable && this.#isHeartbeatFresh(now, policy)) return this.#toServing('recovered', now);
    return now - this.#since >= LIST_DOWN_MS ? this.#move('gone', 'forgotten', now) : undefined;
  }

  #fromDraining(now: number, policy: EvidencePolicy): Transition | undefined {
    if (this.#reportedState !== 'draining') {
      // Unready probes while draining do not count as failures.
      this.#failures = 0;
      this.#hardFailures = 0;
      return this.#toServing('resumed', now);
    }
    // After a heartbeat with `draining` silence is an orderly leave; refused connections confirm it without Redis.
    const isSilent = policy.areHeartbeatsReliable && now - this.#heartbeatAt > this.#thresholds.heartbeatLateMs;
    const isClosed = this.#hardFailures >= HARD_FAILURES && now - this.#heartbeatAt > this.#thresholds.heartbeatLateMs;
    return isSilent || isClosed ? this.#move('gone', 'left', now) : undefined;
  }

  #toServing(why: string, now: number): Transition {
    const cause = this.#degradation.causeAt(now);
    return cause ? this.#move('degraded', cause, now) : this.#move('up', why, now);
  }

  #toSuspect(why: string, now: number): Transition {
    this.#stateBeforeSuspect = this.#state;
    return this.#move('suspect', why, now);
  }

  #toDown(now: number): Transition {
    return this.#move('down', this.#outcome(), now);
  }

  #outcome(): string {
    return this.#probe?.result.outcome ?? 'beat_late';
  }

  #firstEvidence(from: InstanceState, to: InstanceState, now: number): number {
    const isBad = to === 'suspect' || to === 'down';
    if (isBad) return this.#failures > 0 ? this.#failingSince : now;
    const isRecovery = to === 'up' && (from === 'suspect' || from === 'down');
    return isRecovery && this.#successes > 0 ? this.#firstSuccessAt : now;
  }

  #move(to: InstanceState, why: string, now: number): Transition {
    const from = this.#state;
    this.#state = to;
    this.#since = now;
    this.#evidenceSince = this.#firstEvidence(from, to, now);
    this.#why = why;
    if (to === 'down') this.#successes = 0;
    const { id, service, name } = this.#heartbeat;
    return { id, service, name, from, to, why, afterMs: Math.max(0, now - this.#lastGoodAt) };
  }
}

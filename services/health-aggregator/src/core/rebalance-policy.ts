import { countsConnections, LOAD_FRESH_MS } from './capacity.ts';
import type { FleetSnapshot, InstanceSnapshot } from './fleet-snapshot.ts';

const GATEWAY = 'ws-gateway';
/** Ratios to the mean above or below which a gateway is out of balance; the second finds an empty gateway among many. */
const START_ABOVE = 1.15;
const START_BELOW = 0.75;
/** Ratios within which a rebalance ends. */
const STOP_ABOVE = 1.05;
const STOP_BELOW = 0.9;
/** Smaller differences to the mean are chance, in connections. */
const MIN_DIFFERENCE = 10;
/** Time between two rounds: the moves of a round, then two heartbeats that report them. */
export const ROUND_MS = 15_000;
const MOVING_MS = 10_000;
/** A rebalance is spread over this time, and the pauses between its rounds: each move costs two gateways a handshake. */
const SPREAD_S = 60;
const SLOWEST_PER_S = 25;
/** Share of the requested moves that must have reduced the imbalance. A load balancer that pins clients to a gateway has none. */
const MIN_EFFECT = 0.2;
const MIN_ROUNDS = 2;

/** Settings of the policy. */
export interface RebalanceSettings {
  /** Duration of an imbalance after which clients are moved; younger connections stay. */
  readonly afterMs: number;
  /** Time for which no gateway has joined or left. */
  readonly settleMs: number;
  /** Highest rate of moves in the fleet. */
  readonly movesPerSecond: number;
  /** Time for which a client is not moved again, and for which nothing is moved after moves without effect. */
  readonly cooldownMs: number;
}

/** State of the policy, for metrics. */
export const REBALANCE_STATES = ['balanced', 'waiting', 'moving', 'blocked', 'paused'] as const;
export type RebalanceState = (typeof REBALANCE_STATES)[number];

/** Moves of one gateway in a round. */
export interface GatewayMoves {
  readonly id: string;
  readonly name: string;
  readonly count: number;
  readonly perSecond: number;
}

/** Assessment of one moment; at most one plan per round. */
export interface RebalanceAssessment {
  readonly state: RebalanceState;
  readonly plan?: readonly GatewayMoves[];
  /** True once when a rebalance is given up because the moves had no effect. */
  readonly isIneffective?: boolean;
}

/** A rebalance in progress: the excess at its start, and what was requested since. */
interface Activity {
  readonly excess: number;
  requested: number;
  rounds: number;
}

/** Connections by gateway, and the excess over the mean. */
interface Distribution {
  readonly gateways: readonly { readonly id: string; readonly name: string; readonly count: number }[];
  readonly mean: number;
  readonly excess: number;
}

/**
 * Decides which gateways should move clients. Every aggregator observes, so that a new leader continues with the state of the
 * previous leader; only the leader issues the plans. Times in monotonic ms.
 */
export class RebalancePolicy {
  readonly #settings: RebalanceSettings;
  #members = '';
  #membersSince = 0;
  #unbalancedSince: number | undefined;
  /** Set while clients are moved. */
  #activity: Activity | undefined;
  #nextRoundAt = 0;
  #pausedUntil = 0;

  constructor(settings: RebalanceSettings) {
    this.#settings = settings;
  }

  /** Assesses a snapshot; to be called about once per second. */
  assess(snapshot: FleetSnapshot, now: number): RebalanceAssessment {
    const distribution = distributionOf(snapshot);
    const members = distribution?.gateways.map(({ id }) => id).join() ?? '';
    if (members !== this.#members) this.#membersSince = now;
    this.#members = members;
    if (distribution === undefined) {
      this.#stop();
      return { state: 'blocked' };
    }
    if (!isOutOfBalance(distribution)) this.#unbalancedSince = undefined;
    else this.#unbalancedSince ??= now;
    if (now - this.#membersSince < this.#settings.settleMs) {
      this.#activity = undefined;
      return { state: 'waiting' };
    }
    if (now < this.#pausedUntil) return { state: 'paused' };
    if (this.#activity !== undefined) return this.#continue(distribution, this.#activity, now);
    if (this.#unbalancedSince === undefined) return { state: 'balanced' };
    if (now - this.#unbalancedSince < this.#settings.afterMs) return { state: 'waiting' };
    this.#activity = { excess: distribution.excess, requested: 0, rounds: 0 };
    return this.#continue(distribution, this.#activity, now);
  }

  #continue(distribution: Distribution, activity: Activity, now: number): RebalanceAssessment {
    const plan = isBalanced(distribution) ? [] : planOf(distribution, this.#rateOf(activity));
    if (plan.length === 0) {
      this.#stop();
      return { state: 'balanced' };
    }
    if (now < this.#nextRoundAt) return { state: 'moving' };
    const effect = activity.excess - distribution.excess;
    if (activity.rounds >= MIN_ROUNDS && effect < activity.requested * MIN_EFFECT) {
      this.#stop();
      this.#pausedUntil = now + this.#settings.cooldownMs;
      return { state: 'paused', isIneffective: true };
    }
    activity.rounds += 1;
    activity.requested += plan.reduce((sum, { count }) => sum + count, 0);
    this.#nextRoundAt = now + ROUND_MS;
    return { state: 'moving', plan };
  }

  /** Moves per second. */
  #rateOf({ excess }: Activity): number {
    return Math.min(this.#settings.movesPerSecond, Math.max(SLOWEST_PER_S, excess / SPREAD_S));
  }

  #stop(): void {
    this.#activity = undefined;
    this.#unbalancedSince = undefined;
  }
}

/**
 * Undefined unless the connections of every gateway are known, all of them serve, none drains, and Redis is up for all: an unknown
 * number must not count as an empty gateway.
 */
const distributionOf = ({ frozen, services, dependencies }: FleetSnapshot): Distribution | undefined => {
  const service = services.find((one) => one.service === GATEWAY);
  if (frozen || service === undefined || service.status === 'unknown' || dependencies['redis']?.status !== 'up')
    return undefined;
  const present = service.instances.filter((instance) => !isDead(instance));
  if (present.length < 2 || !present.every(isReady)) return undefined;
  const gateways = present.map(({ id, name, load }) => ({ id, name, count: load['connections'] ?? 0 }));
  const mean = gateways.reduce((sum, { count }) => sum + count, 0) / gateways.length;
  const excess = gateways.reduce((sum, { count }) => sum + Math.max(0, count - mean), 0);
  return { gateways, mean, excess };
};

/** It neither answers nor sends heartbeats, so its clients have left it. */
const isDead = ({ state, beatAgeMs }: InstanceSnapshot): boolean => state === 'down' && beatAgeMs > LOAD_FRESH_MS;

/** A gateway near its limit of connections is degraded, and is the first that should move clients. */
const isReady = (instance: InstanceSnapshot): boolean =>
  (instance.state === 'up' || instance.state === 'degraded') && countsConnections(instance);

const isOutOfBalance = ({ gateways, mean }: Distribution): boolean =>
  gateways.some(
    ({ count }) =>
      Math.abs(count - mean) > MIN_DIFFERENCE && (count > mean * START_ABOVE || count < mean * START_BELOW),
  );

const isBalanced = ({ gateways, mean }: Distribution): boolean =>
  gateways.every(
    ({ count }) =>
      Math.abs(count - mean) <= MIN_DIFFERENCE || (count <= mean * STOP_ABOVE && count >= mean * STOP_BELOW),
  );

/** Every gateway above the mean moves its excess, within the budget of a round in proportion. */
const planOf = ({ gateways, mean, excess }: Distribution, movesPerSecond: number): readonly GatewayMoves[] => {
  const budget = (movesPerSecond * MOVING_MS) / 1_000;
  const share = Math.min(1, budget / excess);
  return gateways.flatMap(({ id, name, count }) => {
    const moves = Math.round((count - mean) * share);
    return moves <= 0 ? [] : [{ id, name, count: moves, perSecond: Math.ceil((moves * 1_000) / MOVING_MS) }];
  });
};

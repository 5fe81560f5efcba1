import { type Clock, sleep } from '@muster/kit/clock';
import type { ShedRequest } from '@muster/kit/fleet/heartbeat';
import type { Logger } from '@muster/kit/logger';
import type { AnyConnection } from './core/connection/any-connection.ts';
import { isAnonymous, type MovedClients } from './moved-clients.ts';
import { MOVE_GRACE_MS, type MovableConnection, type MoveOutcome, Moves } from './moves.ts';

/** Candidates per requested move: some of their clients were moved within the cooldown. */
const CANDIDATES_PER_MOVE = 2;
const STEP_MS = 50;
const MAX_MOVES = 10_000;

export type RebalancedConnection = MovableConnection &
  Pick<AnyConnection, 'id' | 'identity' | 'since' | 'lagBytes' | 'groups'>;

export interface GatewayRebalanceDeps {
  readonly connections: () => Iterable<RebalancedConnection>;
  readonly movedClients: Pick<MovedClients, 'claim'>;
  readonly clock: Clock;
  readonly log: Logger;
  onMove(outcome: MoveOutcome): void;
}

/** The part of a gateway in a rebalance: it moves some clients to the others, evenly over time. */
export interface Rebalance {
  /** Moves clients; a second request replaces the first. Settles when the last client has left. Never rejects. */
  run(request: ShedRequest): Promise<void>;
  /** Moves no more clients, for example because all of them are drained. */
  cancel(): void;
}

export const createRebalance = (deps: GatewayRebalanceDeps): Rebalance => {
  const { connections, movedClients, clock, log } = deps;
  let current = new AbortController();

  const run = async (request: ShedRequest): Promise<void> => {
    current.abort();
    current = new AbortController();
    const stop = current.signal;
    const results: Record<MoveOutcome, number> = { moved: 0, closed: 0, late: 0 };
    const most = Math.min(request.count, MAX_MOVES);
    const candidates = candidatesOf(connections(), request, clock.now()).slice(0, most * CANDIDATES_PER_MOVE);
    try {
      const chosen = await movedClients.claim(candidates, most, request.cooldownMs);
      await moveEvenly(chosen, request.perSecond, stop, {
        clock,
        onMove: (outcome) => {
          results[outcome] += 1;
          deps.onMove(outcome);
        },
      });
      log.info({ requested: request.count, candidates: candidates.length, ...results }, 'gateway.rebalanced');
    } catch (error) {
      log.warn({ error }, 'gateway.rebalance_failed');
    }
  };
  return { run, cancel: () => current.abort() };
};

/** Connections that may move: idle first, that is with the fewest pending bytes and then the fewest groups. */
const candidatesOf = (
  connections: Iterable<RebalancedConnection>,
  { minAgeMs, cooldownMs }: ShedRequest,
  now: number,
): RebalancedConnection[] =>
  [...connections]
    .filter((one) => now - one.since >= (isAnonymous(one) ? Math.max(minAgeMs, cooldownMs) : minAgeMs))
    .map((connection) => ({ connection, lagBytes: connection.lagBytes, groups: connection.groups.length }))
    .sort((one, other) => one.lagBytes - other.lagBytes || one.groups - other.groups)
    .map(({ connection }) => connection);

const moveEvenly = async (
  chosen: readonly RebalancedConnection[],
  perSecond: number,
  stop: AbortSignal,
  { clock, onMove }: Pick<GatewayRebalanceDeps, 'clock' | 'onMove'>,
): Promise<void> => {
  const moves = new Moves(onMove);
  const startedAt = clock.monotonic();
  let started = 0;
  while ((started < chosen.length && !stop.aborted) || moves.size > 0) {
    const now = clock.monotonic();
    // At least one: a rate below one per step must not stop the moves.
    const due = Math.floor(((now - startedAt) / 1_000) * perSecond) + 1;
    for (const connection of stop.aborted ? [] : chosen.slice(started, due))
      moves.start(connection, now + MOVE_GRACE_MS);
    started = Math.max(started, Math.min(due, chosen.length));
    moves.settle(now);
    await sleep(STEP_MS);
  }
};

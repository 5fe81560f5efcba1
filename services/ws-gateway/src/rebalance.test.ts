import type { ShedRequest } from '@muster/kit/fleet/heartbeat';
import type { ClientId } from '@muster/protocol/ids';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { expect, test } from 'vitest';
import type { ClientIdentity } from './core/ports.ts';
import { createRebalance, type RebalancedConnection } from './rebalance.ts';

const NOW = 10_000_000;
const HOUR_MS = 3_600_000;
const REQUEST: ShedRequest = { count: 2, perSecond: 1_000, minAgeMs: 60_000, cooldownMs: HOUR_MS };

interface Client {
  readonly ageMs?: number;
  readonly lagBytes?: number;
  readonly groups?: number;
  readonly user?: string;
}

const clientsOf = (clients: Readonly<Record<string, Client>>) => {
  const closed: string[] = [];
  const connections = Object.entries(clients).map(
    ([id, { ageMs = 120_000, lagBytes = 0, groups = 1, user = id }]): RebalancedConnection => ({
      ...{ id: id as ClientId, since: NOW - ageMs, lagBytes },
      groups: Array.from({ length: groups }, (_, index) => `group-${index}`),
      identity: {
        tenant: 'default',
        sessionId: undefined,
        user,
        expiresAt: Number.POSITIVE_INFINITY,
      } as ClientIdentity,
      get isClosed() {
        return closed.includes(id);
      },
      requestMove: () => false,
      close: () => void closed.push(id),
    }),
  );
  return { connections, closed };
};

const rebalanceOf = (
  connections: RebalancedConnection[],
  claim = async (some: readonly unknown[], most: number) => some.slice(0, most),
) => {
  const log = createInMemoryLog();
  const outcomes: string[] = [];
  const rebalance = createRebalance({
    connections: () => connections,
    movedClients: { claim: claim as never },
    clock: { now: () => NOW, monotonic: () => performance.now() },
    log,
    onMove: (outcome) => outcomes.push(outcome),
  });
  return { rebalance, log, outcomes };
};

test('[RB2] given connections of different age and load, when clients are chosen, then idle connections are moved first and young connections stay', async () => {
  const { connections, closed } = clientsOf({
    young: { ageMs: 59_000, groups: 0 },
    slow: { lagBytes: 70_000 },
    busy: { groups: 9 },
    quiet: { groups: 1 },
    idle: { groups: 0 },
  });
  const { rebalance, outcomes, log } = rebalanceOf(connections);
  await rebalance.run(REQUEST);
  expect([closed, outcomes]).toEqual([
    ['idle', 'quiet'],
    ['closed', 'closed'],
  ]);
  expect(log.of('gateway.rebalanced')).toMatchObject([{ fields: { requested: 2, closed: 2, moved: 0, late: 0 } }]);
});

test('[RB4] given anonymous clients, when clients are chosen, then only those with a connection older than the cooldown are moved', async () => {
  const { connections, closed } = clientsOf({
    recent: { user: '', ageMs: HOUR_MS - 1 },
    old: { user: '', ageMs: HOUR_MS },
  });
  await rebalanceOf(connections).rebalance.run(REQUEST);
  expect(closed).toEqual(['old']);
});

test('[RB5] given a store that cannot be queried, when clients are chosen, then none is moved and it is logged', async () => {
  const { connections, closed } = clientsOf({ a: {}, b: {} });
  const { rebalance, log } = rebalanceOf(connections, () => Promise.reject(new Error('no Redis')));
  await rebalance.run(REQUEST);
  expect(closed).toEqual([]);
  expect(log.of('gateway.rebalance_failed')).toHaveLength(1);
});

test('[RB7] given a rebalance, when it is cancelled, then it moves no further clients', async () => {
  const { connections, closed } = clientsOf(Object.fromEntries(Array.from({ length: 50 }, (_, id) => [`c${id}`, {}])));
  const { rebalance } = rebalanceOf(connections);
  const running = rebalance.run({ ...REQUEST, count: 50, perSecond: 1 });
  while (closed.length === 0) await new Promise((resolve) => setImmediate(resolve));
  rebalance.cancel();
  await running;
  expect(closed).toHaveLength(1);
});

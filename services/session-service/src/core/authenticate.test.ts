import { AppError } from '@muster/protocol/errors';
import { createRejectedTokens } from '@muster/session/session-decision';
import type { SnapshotRead, Stored } from '@muster/session/session-snapshot';
import { createTokenSigner, hashSecret, newSecret, newSessionId } from '@muster/session/token';
import { createFakeClock } from '@muster/testkit/fake-clock';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { expect, test } from 'vitest';
import { type AuthenticateDeps, type Authenticated, authenticate } from './authenticate.ts';
import { type SessionRecord, toSnapshot } from './session-record.ts';

const signer = createTokenSigner(['authenticate-test-secret-0123456789-ab', 'authenticate-test-older-9876543210-zyx']);
const random = { bytes: (size: number) => crypto.getRandomValues(new Uint8Array(size)) };
const HOUR = 3_600_000;

/** The stores of one session in memory; everything is counted. */
const createWorld = () => {
  const clock = createFakeClock();
  const id = newSessionId();
  const secret = newSecret(random);
  const record: SessionRecord = {
    id,
    tenant: 'default',
    userId: 'u_1',
    kind: 'user',
    policy: 'standard',
    transport: 'bearer',
    secretHash: hashSecret(secret).toString('base64url'),
    rotatedAt: null,
    rev: 1,
    aal: 1,
    label: null,
    data: {},
    grants: [],
    createdAt: clock.now(),
    lastSeenAt: clock.now(),
    idleSeconds: 2 * 3600,
    expiresAt: clock.now() + 24 * HOUR,
    endedAt: null,
    endReason: null,
    about: {
      client: { kind: 'web', summary: null, userAgent: null, deviceId: null },
      ip: null,
      lastIp: null,
      country: null,
      auth: { time: null, amr: [], idp: null },
      actor: null,
      remember: true,
    },
  };
  const state = {
    cached: { is: 'missing' } as SnapshotRead,
    record: record as SessionRecord | undefined,
    touched: undefined as number | undefined,
    redisDown: false,
    postgresDown: false,
    stored: { ok: true } as Stored,
    reads: 0,
    loads: 0,
    writes: [] as string[],
    keys: [] as (number | undefined)[],
    stale: 0,
  };
  const redis = <T>(work: () => T) =>
    state.redisDown ? Promise.reject(new Error('Connection is closed.')) : Promise.resolve(work());
  const written = <T>(what: string, answer: T) =>
    redis(() => {
      state.writes.push(what);
      return answer;
    });
  const deps: AuthenticateDeps = {
    clock,
    log: createInMemoryLog(),
    signer,
    snapshots: {
      read: () =>
        redis(() => {
          state.reads += 1;
          return state.cached;
        }),
      put: () => written('put', state.stored),
      refresh: () => written('refresh', true),
      tomb: () => written('tomb', true),
      putUnknown: () => written('unknown', undefined),
    },
    loader: {
      load: async () => {
        state.loads += 1;
        if (state.postgresDown) throw new AppError('DATABASE_UNAVAILABLE');
        return state.record;
      },
    },
    rejected: createRejectedTokens<Authenticated>(),
    pendingTouch: async () => state.touched,
    onKey: (key) => void state.keys.push(key),
    onStaleAccepted: () => {
      state.stale += 1;
    },
  };
  const cache = () => {
    state.cached = { is: 'live', snapshot: toSnapshot(record, clock.now()) };
  };
  return { clock, id, secret, record, state, deps, cache, token: signer.issue(id, secret) };
};

test('[SE12] given invalid tokens, neither Redis nor Postgres is accessed', async () => {
  const { deps, state, token } = createWorld();
  const forged = createTokenSigner(['somebody-elses-secret-0123456789-abcdef']).issue(
    newSessionId(),
    newSecret(random),
  );
  const texts = ['', 's:', '.', forged, `${token}A`, 'a'.repeat(65_536)];
  for (let length = 0; length < token.length; length += 1) texts.push(token.slice(0, length));
  for (const text of texts) {
    expect(await authenticate(deps, text)).toEqual({ ok: false, why: 'invalid', source: 'local' });
  }
  expect(state).toMatchObject({ reads: 0, loads: 0, writes: [] });
  expect(new Set(state.keys)).toEqual(new Set([undefined]));
});

test('[SE62] given a snapshot, it decides; without it Postgres decides and it is stored', async () => {
  const world = createWorld();
  expect(await authenticate(world.deps, world.token)).toMatchObject({
    ok: true,
    source: 'postgres',
    keyIndex: 0,
  });
  expect(world.state.writes).toEqual(['put']);
  world.cache();
  expect(await authenticate(world.deps, world.token)).toMatchObject({ ok: true, source: 'redis' });
  expect(world.state.loads).toBe(1);
});

test('[SE12] given another secret, the cache does not decide', async () => {
  const world = createWorld();
  world.cache();
  const verdict = await authenticate(world.deps, signer.issue(world.id, newSecret(random)));
  expect(verdict).toMatchObject({ ok: false, why: 'reused', kind: 'stale', source: 'postgres' });
});

test('[SE62] given a rotation that is not in the cache, the new secret is not reuse', async () => {
  const world = createWorld();
  world.cache();
  const secret = newSecret(random);
  world.state.record = { ...world.record, rev: 2, secretHash: hashSecret(secret).toString('base64url') };
  expect(await authenticate(world.deps, signer.issue(world.id, secret))).toMatchObject({
    ok: true,
    source: 'postgres',
  });
});

test('[SE61] given an end while Postgres is read, the result is the end', async () => {
  const world = createWorld();
  world.state.stored = { ok: false, newer: { is: 'ended', reason: 'logout' } };
  expect(await authenticate(world.deps, world.token)).toMatchObject({
    ok: false,
    why: 'ended',
    reason: 'logout',
  });
});

test('[SE62] given a stale unchanged snapshot, Postgres renews it', async () => {
  const world = createWorld();
  world.cache();
  world.clock.advance(11 * 60_000);
  if (world.state.cached.is === 'live') {
    world.state.stored = { ok: false, newer: { is: 'live', snapshot: world.state.cached.snapshot } };
  }
  expect(await authenticate(world.deps, world.token)).toMatchObject({ ok: true, source: 'postgres' });
  expect(world.state.writes).toEqual(['put', 'refresh']);
});

test('[SE18] given no Redis, Postgres decides', async () => {
  const world = createWorld();
  world.state.redisDown = true;
  expect(await authenticate(world.deps, world.token)).toMatchObject({ ok: true, source: 'postgres' });
  world.state.record = { ...world.record, endedAt: 1, endReason: 'revoked' };
  expect(await authenticate(world.deps, world.token)).toMatchObject({ why: 'ended', reason: 'revoked' });
});

test('[SE19] given no Postgres, a stale snapshot is accepted for an hour and counted', async () => {
  const world = createWorld();
  world.cache();
  world.state.postgresDown = true;
  world.clock.advance(11 * 60_000);
  expect(await authenticate(world.deps, world.token)).toMatchObject({ ok: true, source: 'redis' });
  expect(world.state.stale).toBe(1);
  world.clock.advance(HOUR);
  await expect(authenticate(world.deps, world.token)).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' });
});

test('[SE19] given no Postgres, no session is refused for a reason that only Postgres has', async () => {
  const world = createWorld();
  world.state.postgresDown = true;
  await expect(authenticate(world.deps, world.token)).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' });
  world.cache();
  const other = signer.issue(world.id, newSecret(random));
  await expect(authenticate(world.deps, other)).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' });
  world.clock.advance(3 * HOUR);
  await expect(authenticate(world.deps, world.token)).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' });
});

test('[SE9] given no activity beyond the limit, a session is idle unless a touch is pending', async () => {
  const world = createWorld();
  world.clock.advance(2 * HOUR);
  expect(await authenticate(world.deps, world.token)).toMatchObject({ ok: true });
  world.clock.advance(1);
  expect(await authenticate(world.deps, world.token)).toMatchObject({ ok: false, reason: 'idle' });
  world.state.touched = world.clock.now() - 1000;
  expect(await authenticate(world.deps, world.token)).toMatchObject({ ok: true });
  world.clock.advance(24 * HOUR);
  world.state.touched = world.clock.now();
  expect(await authenticate(world.deps, world.token)).toMatchObject({ ok: false, reason: 'expired' });
});

test('[SE12] given an unknown id, it is ended and cached as unknown', async () => {
  const world = createWorld();
  world.state.record = undefined;
  expect(await authenticate(world.deps, world.token)).toMatchObject({ ok: false, reason: 'unknown' });
  expect(world.state.writes).toEqual(['unknown']);
});

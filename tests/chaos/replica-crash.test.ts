import type { GroupKey } from '@muster/bus/group-key';
import { groupKeys } from '@muster/bus/redis-keys';
import type { LocalFleet } from '@muster/fleet/fleet';
import { withClient } from '@muster/testkit/template';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startDedicatedFleet } from '../cluster/dedicated-fleet.ts';
import { CLIENT_ID, startIssuer, type TestIssuer } from '../session/fake-issuer.ts';

// A replica is killed while it holds a request; what was carried out is counted in the stores, not in the answers.

const PREFIX = 'muster:';
const GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';
/** Publications and logins of the soak. */
const PUBLICATIONS = 14_000;
const LOGINS = 6_000;
const WORKERS = 24;
/** Fewer than the history of a group keeps. */
const PUBLICATIONS_PER_GROUP = 250;
const KILL_EVERY_MS = 1_500;

let fleet: LocalFleet;
let issuer: TestIssuer;
let redis: Redis;

beforeAll(async () => {
  issuer = await startIssuer();
  fleet = await startDedicatedFleet(
    { OIDC_ISSUERS: JSON.stringify([{ name: 'acme', issuer: issuer.url, audience: [CLIENT_ID] }]) },
    2,
    1,
    2,
  );
  redis = new Redis(fleet.describe().redisUrl);
});
afterAll(async () => {
  redis?.disconnect();
  for (const one of [fleet, issuer]) await one?.[Symbol.asyncDispose]();
});

const post = async (path: string, body: object, method = 'POST'): Promise<{ status: number; body: unknown }> => {
  const { publicUrl, serviceApiKey, serverApiKey } = fleet.describe();
  const headers = {
    'content-type': 'application/json',
    ...(path.startsWith('/api/') ? { 'x-api-key': serverApiKey } : { authorization: `Bearer ${serviceApiKey}` }),
  };
  try {
    const init = { method, headers, ...(method === 'DELETE' ? {} : { body: JSON.stringify(body) }) };
    const answer = await fetch(publicUrl + path, init);
    return { status: answer.status, body: await answer.json().catch(() => undefined) };
  } catch {
    // The connection ended without an answer.
    return { status: 0, body: undefined };
  }
};
const sql = <T>(text: string, values: unknown[] = []): Promise<T[]> =>
  withClient(fleet.describe().databaseUrl, async (client) => (await client.query(text, values)).rows as T[]);
const liveSessionsOf = async (user: string): Promise<number> =>
  (
    await sql<{ count: number }>(
      'SELECT count(*)::int AS count FROM sessions WHERE user_id = $1 AND ended_at IS NULL',
      [user],
    )
  )[0]?.count ?? 0;
const publicationsIn = async (group: string): Promise<string[]> => {
  const entries = await redis.xrange(groupKeys(PREFIX, group as GroupKey).stream, '-', '+');
  return entries.map(([, fields]) => fields[fields.indexOf('p') + 1] ?? '');
};
const pidOf = (name: string): number => {
  const { gateways, sessionServices } = fleet.describe();
  return [...gateways, ...sessionServices].find((one) => one.name === name)?.pid ?? 0;
};
const isReady = async (name: string): Promise<boolean> => {
  const { gateways, sessionServices } = fleet.describe();
  const member = [...gateways, ...sessionServices].find((one) => one.name === name);
  return (await fetch(`${member?.url}/readyz`)).status === 200;
};
/** Kills a replica, and waits until the launcher has started it again. */
const killed = async (name: string): Promise<() => Promise<unknown>> => {
  const before = pidOf(name);
  fleet.kill(name, 'SIGKILL');
  await until(() => pidOf(name) !== before, { what: `the end of ${name}` });
  return () => until(() => isReady(name), { what: `${name} to be ready again`, timeoutMs: 60_000, intervalMs: 100 });
};

/** Sends a request that waits for a lock in Postgres, kills the session service that waits, and releases the lock. */
const killedInPostgres = async <T>(lock: string, request: () => Promise<T>): Promise<T> => {
  const holder = new Client({ connectionString: fleet.describe().databaseUrl });
  await holder.connect();
  try {
    await holder.query('BEGIN');
    await holder.query(lock);
    const { rows } = await holder.query('SELECT clock_timestamp() AS locked');
    const answering = request();
    const [waiting] = await until(
      () =>
        sql<{ name: string }>(
          `SELECT substring(application_name FROM 'session-service-.*') AS name FROM pg_stat_activity
            WHERE wait_event_type = 'Lock' AND xact_start > $1 AND application_name LIKE '%session-service-%'`,
          [rows[0].locked],
        ),
      { ok: (rows) => rows.length > 0, what: 'a request that waits for the lock', intervalMs: 5 },
    );
    const restarted = await killed(waiting?.name ?? '');
    await holder.query('COMMIT');
    const answer = await answering;
    await restarted();
    return answer;
  } finally {
    await holder.end();
  }
};

describe('[RI1] when a session service dies inside a request', () => {
  const LOCK = 'LOCK TABLE sessions IN EXCLUSIVE MODE';

  test('[RI1] login: at most one session', async () => {
    const answer = await killedInPostgres(LOCK, () =>
      post('/v1/sessions', { user_id: 'inside-login', transport: 'bearer' }),
    );
    expect([0, 502]).toContain(answer.status);
    expect(await liveSessionsOf('inside-login')).toBeLessThanOrEqual(1);
  });

  test('[RI1] token exchange: at most one session', async () => {
    const token = await issuer.idToken({ claims: { sub: 'inside-exchange' } });
    const answer = await killedInPostgres(LOCK, () =>
      post('/v1/token-exchange', { grant_type: GRANT, subject_token: token, subject_token_type: ID_TOKEN }),
    );
    expect([0, 502]).toContain(answer.status);
    const rows = await sql<{ count: number }>(
      "SELECT count(*)::int AS count FROM sessions WHERE user_id LIKE '%inside-exchange'",
    );
    expect(rows[0]?.count).toBeLessThanOrEqual(1);
  });

  test('[RI1] upgrade: the guest becomes the user once or stays a guest', async () => {
    const guest = await post('/v1/sessions', { transport: 'bearer' });
    const { id } = (guest.body ?? {}) as { id?: string };
    expect(guest.status).toBe(201);
    const answer = await killedInPostgres(LOCK, () =>
      post(`/v1/sessions/${id}/upgrade`, { user_id: 'inside-upgrade' }),
    );
    expect([0, 502]).toContain(answer.status);
    expect(await liveSessionsOf('inside-upgrade')).toBeLessThanOrEqual(1);
    const [row] = await sql<{ rev: number }>('SELECT rev::int AS rev FROM sessions WHERE id = $1', [id]);
    expect(row?.rev).toBeLessThanOrEqual(2);
  });

  test('[RI1] end: at most one end in the audit log, and a retry ends it', async () => {
    const login = await post('/v1/sessions', { user_id: 'inside-end', transport: 'bearer' });
    const { id } = (login.body ?? {}) as { id?: string };
    await killedInPostgres(LOCK, () => post(`/v1/sessions/${id}`, {}, 'DELETE'));
    await post(`/v1/sessions/${id}`, {}, 'DELETE');
    expect(await liveSessionsOf('inside-end')).toBe(0);
    const events = await sql<{ count: number }>(
      'SELECT type, count(*)::int AS count FROM session_events WHERE session_id = $1 GROUP BY type',
      [id],
    );
    expect(events.map(({ count }) => count)).toEqual([1, 1]);
  });
});

/** Sends a request to each of the two gateways while Redis is stopped, and kills one gateway meanwhile. */
const killedInRedis = async <T>(victim: string, request: () => Promise<T>): Promise<T[]> => {
  fleet.kill('redis', 'SIGSTOP');
  try {
    const answering = Promise.all([request(), request()]);
    // Both are inside: a gateway waits for Redis for a second before it gives up.
    await new Promise((resolve) => setTimeout(resolve, 300));
    const restarted = await killed(victim);
    fleet.kill('redis', 'SIGCONT');
    const answers = await answering;
    await restarted();
    await until(() => isReady(victim), { what: `${victim} to be ready` });
    return answers;
  } finally {
    fleet.kill('redis', 'SIGCONT');
  }
};

/** Outcome of one publication: whether it was acknowledged, and how often it was made. */
const outcomes = async (
  calls: readonly { readonly isAcknowledged: boolean; readonly group: string; readonly mark: string }[],
): Promise<{ twice: string[]; lost: string[] }> => {
  const twice: string[] = [];
  const lost: string[] = [];
  const made = new Map<string, number>();
  for (const group of new Set(calls.map((call) => call.group))) {
    for (const text of await publicationsIn(group)) {
      const [, mark = ''] = /"mark":"([^"]+)"/.exec(text) ?? [];
      made.set(`${group} ${mark}`, (made.get(`${group} ${mark}`) ?? 0) + 1);
    }
  }
  for (const { group, mark, isAcknowledged } of calls) {
    const count = made.get(`${group} ${mark}`) ?? 0;
    if (count > 1) twice.push(`${group} ${mark}: ${count}`);
    if (count === 0 && isAcknowledged) lost.push(`${group} ${mark}`);
  }
  return { twice, lost };
};
const publish = async (method: 'publish' | 'broadcast', groups: readonly string[], mark: string) => {
  const where = method === 'publish' ? { channel: groups[0] } : { channels: groups };
  const { status, body } = await post(`/api/${method}`, { ...where, data: { mark } });
  const result = (body as { result?: { responses?: readonly { result?: object }[] } } | undefined)?.result;
  return groups.map((group, index) => ({
    group,
    mark,
    isAcknowledged:
      status === 200 && (method === 'publish' ? result : result?.responses?.[index]?.result) !== undefined,
  }));
};

test.for([
  ['publish', ['inside-publish']],
  ['broadcast', ['inside-broadcast-1', 'inside-broadcast-2']],
] as const)(
  '[RI2] when a gateway dies inside a %s, it is made at most once, and once when acknowledged',
  async ([method, groups]) => {
    let serial = 0;
    const rounds: Awaited<ReturnType<typeof publish>>[] = [];
    for (const victim of ['ws-gateway-1', 'ws-gateway-2', 'ws-gateway-1', 'ws-gateway-2']) {
      const request = () => {
        serial += 1;
        return publish(method, groups, `${method}-${serial}`);
      };
      rounds.push(...(await killedInRedis(victim, request)));
    }
    // Each round had a request inside the gateway that was killed.
    expect(rounds.filter((calls) => !calls.some(({ isAcknowledged }) => isAcknowledged)).length).toBeGreaterThan(0);
    expect(await outcomes(rounds.flat())).toEqual({ twice: [], lost: [] });
  },
);

/** Runs `work` for every number below `count` by some workers at once. */
const byWorkers = async (count: number, work: (number: number) => Promise<void>): Promise<void> => {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) {
      next += 1;
      await work(next - 1);
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, worker));
};
/** Kills a replica every so often while `work` runs. Answers how many it killed. */
const whileKilling = async (names: readonly string[], work: () => Promise<void>): Promise<number> => {
  let isGoing = true;
  let kills = 0;
  const killing = (async () => {
    while (isGoing) {
      await new Promise((resolve) => setTimeout(resolve, KILL_EVERY_MS));
      const victim = names[kills % names.length] ?? '';
      const restarted = await killed(victim);
      kills += 1;
      await restarted();
    }
  })();
  await work();
  isGoing = false;
  await killing;
  return kills;
};

test('[RI3] given 20,000 publications and logins, when replicas are killed, none is made twice and no acknowledged one is lost', async () => {
  const calls: Awaited<ReturnType<typeof publish>>[] = [];
  const logins = new Map<string, boolean>();
  const kills = await whileKilling(
    ['ws-gateway-1', 'session-service-1', 'ws-gateway-2', 'session-service-2'],
    async () => {
      await Promise.all([
        byWorkers(PUBLICATIONS, async (number) => {
          const group = `soak-${Math.floor(number / PUBLICATIONS_PER_GROUP)}`;
          calls.push(await publish('publish', [group], String(number)));
        }),
        byWorkers(LOGINS, async (number) => {
          const user = `soak-${number}`;
          const { status } = await post('/v1/sessions', { user_id: user, transport: 'bearer' });
          logins.set(user, status === 201);
        }),
      ]);
    },
  );
  const rows = await sql<{ user_id: string; count: number }>(
    "SELECT user_id, count(*)::int AS count FROM sessions WHERE user_id LIKE 'soak-%' GROUP BY user_id",
  );
  const made = new Map(rows.map(({ user_id, count }) => [user_id, count]));
  const failed = calls.flat().filter(({ isAcknowledged }) => !isAcknowledged).length;
  const refused = [...logins.values()].filter((isAcknowledged) => !isAcknowledged).length;
  process.stdout.write(
    `${PUBLICATIONS} publications (${failed} unacknowledged), ${LOGINS} logins (${refused} unacknowledged), ${kills} kills\n`,
  );
  expect(kills).toBeGreaterThan(2);
  expect(await outcomes(calls.flat())).toEqual({ twice: [], lost: [] });
  expect([...made].filter(([, count]) => count > 1)).toEqual([]);
  expect([...logins].filter(([user, isAcknowledged]) => isAcknowledged && !made.has(user))).toEqual([]);
});

import type { Command } from '../command.ts';
import { table } from '../table.ts';

interface Report {
  readonly findings: readonly { readonly verdict: string; readonly advice: string }[];
  readonly pool: {
    readonly total: number;
    readonly idle: number;
    readonly waiting: number;
    readonly max: number;
    readonly oldest_checkout: { readonly age_ms: number; readonly holder: string } | null;
  };
  readonly budget: { readonly sum: string } | null;
  readonly postgres: {
    readonly max_connections: number;
    readonly clients: readonly { application: string; state: string; count: number; oldest_s: number }[];
  } | null;
  readonly redis: {
    readonly connected: number;
    readonly max_clients: number;
    readonly rejected: number;
  } | null;
}

/** `muster doctor` */
export const doctor: Command = {
  name: 'doctor',
  usage: 'doctor',
  summary: 'who holds which connections, and what is wrong; exit code 1 when something is',
  options: {},
  run: async ({ send }) => {
    const { body } = await send<Report>({ method: 'GET', path: '/v1/diagnostics/connections' });
    return { text: tell(body), json: body, isBad: body.findings.some(({ verdict }) => verdict !== 'ok') };
  },
};

const tell = ({ findings, pool, budget, postgres, redis }: Report): string => {
  const { oldest_checkout: oldest } = pool;
  const held = oldest === null ? '' : `; longest held for ${oldest.age_ms} ms by ${oldest.holder}`;
  const clients = postgres?.clients.map(({ application, state, count, oldest_s }) => [
    ...[application || '(no name)', state, String(count), `${Math.round(oldest_s)} s`],
  ]);
  return [
    ...findings.map(({ verdict, advice }) => `${verdict === 'ok' ? 'ok' : `VERDICT  ${verdict}`}: ${advice}`),
    '',
    `pool      ${pool.total - pool.idle} used, ${pool.idle} idle, ${pool.waiting} waiting, at most ${pool.max}${held}`,
    `budget    ${budget?.sum ?? 'unknown'}`,
    redis
      ? `redis     ${redis.connected} of ${redis.max_clients} connected, ${redis.rejected} refused`
      : 'redis     does not answer',
    postgres ? `postgres  at most ${postgres.max_connections}` : 'postgres  does not answer',
    ...(clients === undefined ? [] : ['', table(['PROGRAM', 'STATE', 'COUNT', 'LONGEST'], clients)]),
  ].join('\n');
};

import { MusterError } from '@muster/client/http';
import type { CliCommand, Context } from '../command.ts';
import { printable, table } from '../output.ts';
import { runSyntheticCheck, type Step } from '../synthetic-check.ts';

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
export const doctor: CliCommand = {
  name: 'doctor',
  usage: 'doctor',
  summary:
    'run a synthetic check (login, connect, subscribe, publish, receive, revoke, closed) with timings, then report the connections of the stores; exit code 1 when either finds a fault',
  options: {},
  run: async (context) => {
    const steps = await runSyntheticCheck(context);
    const connections = await readConnections(context);
    const isBad =
      steps.some(({ state }) => state !== 'ok') ||
      ('report' in connections
        ? connections.report.findings.some(({ verdict }) => verdict !== 'ok')
        : !connections.isForbidden);
    return {
      text: `${stepLines(steps)}\n\n${'report' in connections ? reportLines(connections.report) : connections.reason}`,
      json: { steps, connections: 'report' in connections ? connections.report : null },
      isBad,
    };
  },
};

type Connections =
  | { readonly report: Report }
  /** Forbidden: the key lacks the scope, which is not a fault of the fleet. */
  | { readonly reason: string; readonly isForbidden: boolean };

const readConnections = async ({ send }: Context): Promise<Connections> => {
  try {
    return { report: (await send<Report>({ method: 'GET', path: '/v1/diagnostics/connections' })).body };
  } catch (error) {
    if (!(error instanceof MusterError)) throw error;
    const isForbidden = error.status === 403;
    const why = isForbidden ? 'the API key lacks the scope ops' : `${error.message} [${error.status}]`;
    return { reason: `connections of the stores: unknown (${why})`, isForbidden };
  }
};

const stepLines = (steps: readonly Step[]): string =>
  steps
    .map((one) => {
      const name = one.step.padEnd(9);
      if (one.state === 'skipped') return `–       ${name}  skipped`;
      const line = `${one.state === 'ok' ? 'ok    ' : 'FAILED'}  ${name}  ${String(one.ms).padStart(7)} ms  ${printable(one.detail)}`;
      return one.state === 'ok' ? line : `${line}\n        remedy: ${one.advice}`;
    })
    .join('\n');

const reportLines = ({ findings, pool, budget, postgres, redis }: Report): string => {
  const { oldest_checkout: oldest } = pool;
  const held = oldest === null ? '' : `; longest held for ${oldest.age_ms} ms by ${oldest.holder}`;
  const clients = postgres?.clients.map(({ application, state, count, oldest_s }) => [
    ...[application || '(no name)', state, String(count), `${Math.round(oldest_s)} s`],
  ]);
  return [
    ...findings.map(({ verdict, advice }) => `${verdict === 'ok' ? 'ok' : `FINDING  ${verdict}`}: ${advice}`),
    '',
    `pool      ${pool.total - pool.idle} used, ${pool.idle} idle, ${pool.waiting} waiting, at most ${pool.max}${held}`,
    `budget    ${budget?.sum ?? 'unknown'}`,
    redis
      ? `redis     ${redis.connected} of ${redis.max_clients} connected, ${redis.rejected} refused`
      : 'redis     no answer',
    postgres ? `postgres  at most ${postgres.max_connections}` : 'postgres  no answer',
    ...(clients === undefined ? [] : ['', table(['PROGRAM', 'STATE', 'COUNT', 'LONGEST'], clients)]),
  ].join('\n');
};

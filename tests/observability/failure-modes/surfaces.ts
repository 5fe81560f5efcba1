import { readFileSync, writeFileSync } from 'node:fs';
import { until } from '@muster/testkit/wait';
import { expect } from 'vitest';
import type { FaultyStore, Mode } from './modes.ts';
import type { Trio } from './trio.ts';

const DOCUMENT = new URL('../../../docs/operations/failure-modes.md', import.meta.url);
/** Set to write the table instead of comparing with it. */
const WRITES = process.env['MUSTER_WRITE_FAILURE_MODES'] !== undefined;
/** A check runs every 2 s and takes up to 1 s; longer on a busy machine. */
const TIMEOUT_MS = 30_000;

/** Reasons for which a store accepts no command at all. */
const UNUSABLE = ['refused', 'auth'];

/** Name of a store in `/health`, metrics and logs. */
export type Dependency = 'redis' | 'database';
/** Tables of the document. */
type Table = Dependency | 'session_service';

/** Health of a dependency as one process reports it. */
interface ReportedHealth {
  readonly status: number;
  readonly health: string;
  readonly reason: string | undefined;
}

interface HealthResponse {
  readonly status: string;
  readonly checks: Readonly<
    Record<string, { readonly status: string; readonly reason?: string; readonly reasons?: readonly string[] }>
  >;
  readonly impact?: readonly { readonly subject: string }[];
}

const healthOf = async (opsUrl: string): Promise<{ readonly code: number; readonly body: HealthResponse }> => {
  const response = await fetch(`${opsUrl}/health`);
  return { code: response.status, body: (await response.json()) as HealthResponse };
};
const reportedBy = async ({ opsUrl }: { readonly opsUrl: string }, dependency: Dependency): Promise<ReportedHealth> => {
  const { code, body } = await healthOf(opsUrl);
  return { status: code, health: body.status, reason: body.checks[dependency]?.reason };
};
const fleetHealth = async ({ aggregator }: Trio) => {
  const { status, body } = await aggregator.request('/health');
  return { code: status, body: body as HealthResponse };
};

/** Processes that depend on a store. */
const usersOf = ({ service, gateway }: Trio, dependency: Dependency) =>
  dependency === 'redis' ? [service, gateway] : [service];

/** One row of the table: the output of each surface during the fault. */
export const observe = async (trio: Trio, dependency: Dependency, mode: Mode): Promise<readonly string[]> => {
  await mode.make();
  try {
    await until(() => settled(trio, dependency, mode.reason), {
      ok: Boolean,
      what: `${dependency} ${mode.name}`,
      timeoutMs: TIMEOUT_MS,
    });
    const counted = await failuresOf(trio, dependency);
    const { code, failed, advice } = await trio.doctor();
    await checkAdvice(trio, { dependency, reason: mode.reason, advice });
    const metric = await until(async () => increased(counted, await failuresOf(trio, dependency)), {
      ok: ({ length }) => length > 0,
      what: 'a failed check to be counted',
      timeoutMs: TIMEOUT_MS,
    });
    const [service, gateway] = [await reportedBy(trio.service, dependency), await reportedBy(trio.gateway, dependency)];
    const fleet = await fleetHealth(trio);
    const ready = await Promise.all(
      [trio.service, trio.gateway].map(async ({ opsUrl }) => (await fetch(`${opsUrl}/readyz`)).status),
    );
    return [
      mode.name,
      formatHealth(service),
      dependency === 'redis' ? formatHealth(gateway) : `${gateway.status} ${gateway.health}`,
      ready.join(', '),
      `${fleet.code} ${fleet.body.status}: ${fleet.body.checks[dependency]?.reasons?.join(', ')}`,
      fleet.body.impact?.map(({ subject }) => subject).join(', ') ?? '–',
      failed === undefined ? String(code) : `${code}, at \`${failed}\``,
      metric.map((reason) => `\`${reason}\``).join(', '),
      logged(trio, dependency),
    ];
  } finally {
    await mode.heal();
    await until(() => healthy(trio), {
      ok: Boolean,
      what: `a healthy fleet after ${mode.name}`,
      timeoutMs: TIMEOUT_MS,
    });
  }
};

/** Expects the advice to name the store, not the settings of the step that failed. */
const checkAdvice = async (
  trio: Trio,
  {
    dependency,
    reason,
    advice,
  }: { readonly dependency: Dependency; readonly reason: string; readonly advice: string | undefined },
): Promise<void> => {
  if (!UNUSABLE.includes(reason)) return;
  const store = dependency === 'redis' ? 'Redis' : 'Postgres';
  const first = `${store} cannot be used (${reason}): check that first`;
  if (advice !== undefined) expect(advice).toBe(first);
  if (dependency !== 'redis') return;
  const { code, err } = await trio.connections();
  expect({ code, err }).toEqual({ code: 1, err: expect.stringContaining(`muster: ${first}`) });
};

const formatHealth = ({ status, health, reason }: ReportedHealth): string => `${status} ${health}: \`${reason}\``;

/** True when every dependent process reports the reason, and the fleet reports the dependency as down. */
const settled = async (trio: Trio, dependency: Dependency, reason: string): Promise<boolean> => {
  const reports = await Promise.all(usersOf(trio, dependency).map((each) => reportedBy(each, dependency)));
  const { body } = await fleetHealth(trio);
  const { status, reasons = [] } = body.checks[dependency] ?? { status: 'unknown' };
  return (
    reports.every((report) => report.reason === reason) &&
    status === 'unhealthy' &&
    reasons.join() === reason &&
    body.impact?.some(({ subject }) => subject === dependency) === true
  );
};

export const healthy = async (trio: Trio): Promise<boolean> => {
  const all = await Promise.all([trio.service, trio.gateway].map(({ opsUrl }) => healthOf(opsUrl)));
  return [...all, await fleetHealth(trio)].every(({ body }) => body.status === 'healthy');
};

/** Failed checks of the session service by reason. */
const failuresOf = async ({ service }: Trio, dependency: Dependency): Promise<ReadonlyMap<string, number>> => {
  const text = await (await fetch(`${service.opsUrl}/metrics`)).text();
  const found = text.matchAll(/^service_dependency_failures_total\{dependency="(\w+)",reason="(\w+)"\} (\d+)$/gm);
  return new Map(
    [...found].filter(([, of]) => of === dependency).map(([, , reason = '', count]) => [reason, Number(count)]),
  );
};
const increased = (before: ReadonlyMap<string, number>, now: ReadonlyMap<string, number>): string[] =>
  [...now].filter(([reason, count]) => count > (before.get(reason) ?? 0)).map(([reason]) => reason);

/** Level and reason of the last `dependency.down` line. */
const logged = ({ service }: Trio, dependency: Dependency): string => {
  const line = service.log.of('dependency.down').findLast(({ fields }) => fields['dependency'] === dependency);
  return `\`${line?.level} dependency.down\` \`${line?.fields['reason']}\``;
};

const block = (dependency: Table): RegExp => new RegExp(`(<!-- ${dependency} -->\\n)([^]*?)(<!-- end -->)`);

/** Compares rows with those of the document by the name of the mode, or writes them into it. */
export const compare = (dependency: Table, rows: readonly (readonly string[])[]): void => {
  const text = readFileSync(DOCUMENT, 'utf8');
  const table = block(dependency).exec(text)?.[2] ?? '';
  const lines = rows.map((cells) => `| ${cells.join(' | ')} |`);
  if (WRITES) {
    const head = table.trim().split('\n').slice(0, 2);
    writeFileSync(DOCUMENT, text.replace(block(dependency), `$1\n${[...head, ...lines].join('\n')}\n\n$3`));
    return;
  }
  const names = rows.map(([name]) => `| ${name} |`);
  expect(lines).toEqual(table.split('\n').filter((line) => names.some((name) => line.startsWith(name))));
};

/** Rows of the given modes, observed in sequence. */
export const observeAll = async (
  trio: Trio,
  dependency: Dependency,
  modes: FaultyStore['modes'],
): Promise<readonly (readonly string[])[]> => {
  await until(() => healthy(trio), { ok: Boolean, what: 'a healthy fleet', timeoutMs: TIMEOUT_MS });
  const rows: (readonly string[])[] = [];
  for (const mode of modes) rows.push(await observe(trio, dependency, mode));
  return rows;
};

import { MusterError } from '@muster/client/http';
import { type CliCommand, type Context, integerOption, UsageError } from '../command.ts';
import { errorText } from '../error-text.ts';
import type { FleetReport, InstanceReport } from '../fleet.ts';
import { connectionsOf, createFleetWatch, emptiestFirst, type FleetWatch, healthOf } from '../fleet-watch.ts';
import { drainInstance } from '../instance-drain.ts';
import { printable } from '../output.ts';
import { RESTART_OPTIONS, type RestartMeans, restartMeansOf, runLines } from '../restart-means.ts';

const SERVICES = ['session-service', 'ws-gateway', 'health-aggregator'];
const TIMEOUT_S = 180;
/**
 * Time until the load balancer gives a new gateway its full share (`slowstart` 10 s). Clients of the next gateway then move to it, and
 * not to gateways that have yet to be replaced.
 */
const GATEWAY_SETTLE_S = 12;
const OTHER_SETTLE_S = 2;

/** `muster rollout` */
export const rollout: CliCommand = {
  name: 'rollout',
  usage:
    'rollout [--service NAMES] [--with compose|systemd|local] [--command CMD] [--resume TIME] [--dry-run] [--force] [--timeout S] [--settle S]',
  summary:
    'replace the instances of the services one at a time, the emptiest gateway first: drain, wait until it is empty, restart, wait until it is ready and the fleet operational; stops at the first trouble with exit code 1 and the command that continues. --service: comma-separated, default all three. --command restarts an instance in place, {name} is its name; --compose sets the compose command. --resume skips what has started since TIME',
  options: {
    ...RESTART_OPTIONS,
    service: { type: 'string' },
    resume: { type: 'string' },
    timeout: { type: 'string' },
    settle: { type: 'string' },
    force: { type: 'boolean' },
    'dry-run': { type: 'boolean' },
  },
  run: async (context) => {
    const services = servicesOf(context);
    const means = restartMeansOf(context);
    const timeoutMs = integerOption(context, 'timeout', { fallback: TIMEOUT_S, max: 86_400 }) * 1_000;
    const watch = createFleetWatch(context, { timeoutMs, isForced: context.isSet('force') });
    const first = await watch.read();
    const since = startOf(context, first);
    if (context.isSet('dry-run')) return planOf(first, { services, since, means });
    const rolling = { context, watch, means, timeoutMs, since, replaced: [] as Replacement[] };
    for (const service of services) await replaceService(rolling, service);
    const { replaced } = rolling;
    const text = replaced.length === 0 ? 'nothing to replace' : `replaced ${replaced.length} instances`;
    return { text, json: { since: new Date(since).toISOString(), replaced } };
  },
};

/** An instance that was replaced. */
interface Replacement {
  readonly service: string;
  readonly name: string;
  readonly version: string;
  readonly newName: string;
  readonly newVersion: string;
  readonly seconds: number;
}

interface Rolling {
  readonly context: Context;
  readonly watch: FleetWatch;
  readonly means: RestartMeans;
  readonly timeoutMs: number;
  /** Start of the rollout: what has started later is new. */
  readonly since: number;
  readonly replaced: Replacement[];
}

const servicesOf = ({ option, positionals }: Context): readonly string[] => {
  if (positionals.length > 0) throw new UsageError(`unexpected argument ${positionals[0]}`);
  const named = option('service')?.split(',') ?? SERVICES;
  const unknown = named.find((one) => !SERVICES.includes(one));
  if (unknown !== undefined) throw new UsageError(`--service: expected ${SERVICES.join(', ')}, got ${unknown}`);
  return named;
};

/** The time of `--resume`, else the present by the clock of the aggregators. */
const startOf = ({ option }: Context, { asOf, ageMs }: FleetReport): number => {
  const text = option('resume');
  const time = text === undefined ? Date.parse(asOf) + ageMs : Date.parse(text);
  if (Number.isNaN(time)) throw new UsageError('--resume: expected a time such as 2026-11-29T10:00:00Z');
  return time;
};

const isOld = ({ startedAt }: InstanceReport, since: number): boolean => Date.parse(startedAt) < since;

const planOf = (
  report: FleetReport,
  { services, since, means }: Pick<Rolling, 'since' | 'means'> & { readonly services: readonly string[] },
) => {
  const steps = services.flatMap((service) => {
    const old = emptiestFirst(report, service).filter((one) => isOld(one, since));
    const before = old.length === 0 ? [] : (means.prepare?.(service) ?? []);
    return [
      ...before.map((line) => `${service}: ${line}`),
      ...old.flatMap((instance) => [
        ...(means.add?.(service) ?? []).map((line) => `${instance.name}: ${line}`),
        `${instance.name}: drain ${connectionsOf(instance)} connections`,
        ...means.replace(instance).map((line) => `${instance.name}: ${line}`),
      ]),
    ];
  });
  const health = healthOf(report);
  const remark = health === true ? [] : [`would not start: ${health}`];
  return { text: [...remark, ...steps].map(printable).join('\n') || 'nothing to replace', json: steps };
};

/** Replaces the instances of a service that started before the rollout. Rejects with the way to continue. */
const replaceService = async (rolling: Rolling, service: string): Promise<void> => {
  const { context, watch, means, timeoutMs, since } = rolling;
  /** Successors, and what they have replaced: an aggregator may list an instance for a while after its end. */
  const done = new Set<string>();
  let isPrepared = false;
  let current = service;
  try {
    for (;;) {
      const report = await watch.untilOperational('an operational fleet');
      const old = emptiestFirst(report, service).filter((one) => isOld(one, since) && !done.has(one.id));
      const [next] = old;
      if (next === undefined) return;
      current = next.name;
      context.note(
        `${service}: ${next.name} is next, with ${connectionsOf(next)} connections; ${old.length - 1} after it`,
      );
      if (!isPrepared) await runLines(means.prepare?.(service) ?? [], timeoutMs);
      isPrepared = true;
      const successor = await replaceInstance(rolling, service, next);
      done.add(next.id).add(successor.id);
    }
  } catch (error) {
    throw stopped(rolling, current, error);
  }
};

/** Replaces one instance. Resolves with its successor. */
const replaceInstance = async (rolling: Rolling, service: string, old: InstanceReport): Promise<InstanceReport> => {
  const { context, watch, means, timeoutMs, replaced } = rolling;
  const startedAt = performance.now();
  const settleMs =
    integerOption(context, 'settle', { fallback: service === 'ws-gateway' ? GATEWAY_SETTLE_S : OTHER_SETTLE_S }) *
    1_000;
  const known = new Set(emptiestFirst(await watch.read(), service).map(({ id }) => id));
  const untilSuccessor = async (isIt: (one: InstanceReport) => boolean): Promise<InstanceReport> => {
    let successor: InstanceReport | undefined;
    await watch.until(
      `the successor of ${old.name}`,
      (report) => {
        successor = emptiestFirst(report, service).find((one) => !known.has(one.id) && isIt(one));
        if (successor === undefined) return 'it has sent no heartbeat';
        return successor.state === 'up' || `${successor.name} is ${successor.state}: ${successor.why}`;
      },
      old.name,
    );
    return successor as InstanceReport;
  };
  let successor: InstanceReport | undefined;
  if (means.add !== undefined) {
    await runLines(means.add(service), timeoutMs);
    successor = await untilSuccessor(() => true);
    await watch.settle(settleMs);
  }
  await drainInstance(watch, service, old, context.note);
  await runLines(means.replace(old), timeoutMs);
  successor ??= await untilSuccessor(({ name }) => name === old.name);
  await watch.untilOperational(`an operational fleet after the replacement of ${old.name}`);
  // A gateway that was started beside the others has its share already.
  await watch.settle(means.add === undefined ? settleMs : 0);
  const seconds = Math.round((performance.now() - startedAt) / 100) / 10;
  context.note(
    `${service}: ${old.name} ${old.version} is replaced by ${successor.name} ${successor.version}, ${seconds} s`,
  );
  const names = { name: old.name, version: old.version, newName: successor.name, newVersion: successor.version };
  replaced.push({ service, ...names, seconds });
  return successor;
};

const stopped = ({ context, since, replaced }: Rolling, name: string, cause: unknown): Error => {
  if (cause instanceof UsageError) return cause;
  const given = ['service', 'with', 'command', 'compose', 'timeout', 'settle'].flatMap((option) => {
    const value = context.option(option);
    return value === undefined ? [] : [`--${option} ${/^[\w,.-]+$/.test(value) ? value : `'${value}'`}`];
  });
  const command = ['muster rollout', ...given, `--resume ${new Date(since).toISOString()}`].join(' ');
  const isConflict = cause instanceof MusterError && cause.status === 409;
  const hint = isConflict ? ' (--force drains it all the same)' : '';
  return new Error(
    `rollout stopped at ${name} after ${replaced.length} replaced instances: ${errorText(cause)}${hint}\ncontinue with: ${command}`,
    { cause },
  );
};

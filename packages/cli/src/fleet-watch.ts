import { setTimeout as sleep } from 'node:timers/promises';
import { MusterError } from '@muster/client/http';
import { nameSegment } from '@muster/client/paths';
import type { Context } from './command.ts';
import { type FleetReport, type InstanceReport, readFleet, storesThatAreDown } from './fleet.ts';

const POLL_MS = 500;
const READ_LIMITS = { timeoutMs: 3_000, retries: 0 };
/** Trouble that ends within this time, such as a single failed probe, is ignored. */
const TROUBLE_MS = 5_000;
/** Time for an aggregator that has just started to discover the fleet; until then it may refuse a directive. */
const DIRECTIVE_WITHIN_MS = 15_000;
const NOT_DISCOVERED = [404, 409];

/** Condition of a wait; a text is the reason why it is not met yet. */
type Condition = (report: FleetReport) => true | string;

/** The fleet while a command changes it. */
export type FleetWatch = ReturnType<typeof createFleetWatch>;

/** Watches the fleet over its aggregators, and gives directives to instances. */
export const createFleetWatch = (
  context: Pick<Context, 'url' | 'operator' | 'interruption'>,
  { timeoutMs, isForced }: { readonly timeoutMs: number; readonly isForced: boolean },
) => {
  const signal = context.interruption();

  /**
   * Reads the fleet until `condition` holds, and returns that report. Rejects after the timeout, when the command is interrupted, and
   * when something other than the instance `changing` fails meanwhile.
   */
  const until = async (what: string, condition: Condition, changing?: string): Promise<FleetReport> => {
    const startedAt = performance.now();
    const rejectTrouble = createTroubleCheck();
    /** The report when the condition holds, else the reason why not. */
    const attempt = async (): Promise<FleetReport | string> => {
      const report = await readFleet(context.url, READ_LIMITS);
      if (report === undefined) return 'no aggregator answers';
      const result = condition(report);
      if (result === true) return report;
      if (!isForced) rejectTrouble(troubleOf(report, changing));
      return result;
    };
    for (;;) {
      if (signal.aborted) throw new Error('interrupted');
      const result = await attempt();
      if (typeof result !== 'string') return result;
      if (performance.now() - startedAt >= timeoutMs)
        throw new Error(`${what}: not within ${timeoutMs / 1000} s (${result})`);
      await sleep(POLL_MS, undefined, { signal }).catch(() => {});
    }
  };

  const direct = async (method: 'POST' | 'DELETE', name: string, body?: object): Promise<void> => {
    const startedAt = performance.now();
    for (;;) {
      try {
        await context.operator({
          method,
          path: `/v1/instances/${nameSegment('name', name)}/drain`,
          body,
          isSafeToRepeat: true,
        });
        return;
      } catch (error) {
        const mayChange = error instanceof MusterError && NOT_DISCOVERED.includes(error.status);
        if (!mayChange || performance.now() - startedAt > DIRECTIVE_WITHIN_MS || signal.aborted) throw error;
        await sleep(POLL_MS);
      }
    }
  };

  return {
    until,
    /** The present report. */
    read: () => until('an answer of an aggregator', () => true),
    /** Waits until the whole fleet is operational. */
    untilOperational: (what: string) => until(what, (report) => isForced || healthOf(report)),
    /** Waits for a time in which nothing fails. */
    settle: async (ms: number): Promise<void> => {
      const endsAt = performance.now() + ms;
      await until('the settling time', () => performance.now() >= endsAt || 'waiting');
    },
    drain: (name: string) => direct('POST', name, { reason: 'muster', force: isForced }),
    resume: (name: string) => direct('DELETE', name),
  };
};

/** Throws when there has been trouble for five seconds. */
const createTroubleCheck = () => {
  let since: number | undefined;
  return (trouble: string | undefined): void => {
    since = trouble === undefined ? undefined : (since ?? performance.now());
    if (since !== undefined && performance.now() - since >= TROUBLE_MS) throw new Error(trouble);
  };
};

/** True when the fleet is operational, else the reason. */
export const healthOf = (report: FleetReport): true | string => {
  if (report.status === 'operational') return true;
  const others = report.services.flatMap(({ instances }) => instances).filter(({ state }) => state !== 'up');
  const named = others.map(({ name, state, why }) => `${name} is ${state} (${why})`);
  const services = report.services.filter(({ status }) => status !== 'operational').map(({ service }) => service);
  const reasons = [...storesThatAreDown(report), ...named, ...(named.length === 0 ? services : [])];
  return `the fleet is ${report.status}: ${reasons.join(', ') || 'see GET /health'}`;
};

/** A failure that is not an effect of the change of one instance. */
const troubleOf = (report: FleetReport, changing: string | undefined): string | undefined => {
  const [store] = storesThatAreDown(report);
  if (store !== undefined) return store;
  if (report.journey?.status === 'failing') return `the synthetic check fails at the step ${report.journey.step}`;
  const failed = report.services
    .flatMap(({ instances }) => instances)
    .find(({ name, state }) => state === 'down' && name !== changing);
  return failed && `${failed.name} is down (${failed.why})`;
};

/** Instances of a service, by ascending number of connections. */
export const emptiestFirst = (report: FleetReport, service: string): InstanceReport[] =>
  report.services
    .filter((one) => one.service === service)
    .flatMap(({ instances }) => instances)
    // Targets without heartbeats have no start.
    .filter(({ startedAt }) => Date.parse(startedAt) > 0)
    .sort((a, b) => connectionsOf(a) - connectionsOf(b) || a.name.localeCompare(b.name, 'en', { numeric: true }));

export const connectionsOf = ({ load }: InstanceReport): number => load['connections'] ?? 0;

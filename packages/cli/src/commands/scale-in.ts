import { type CliCommand, integerOption, onlyArgument, UsageError } from '../command.ts';
import type { FleetReport, InstanceReport } from '../fleet.ts';
import { connectionsOf, createFleetWatch, emptiestFirst } from '../fleet-watch.ts';
import { drainInstance } from '../instance-drain.ts';
import { RESTART_OPTIONS, restartMeansOf, runLines } from '../restart-means.ts';

const TIMEOUT_S = 180;

/** `muster scale-in` */
export const scaleIn: CliCommand = {
  name: 'scale-in',
  usage: 'scale-in N [--service NAME] [--with compose|systemd] [--command CMD] [--dry-run] [--force] [--timeout S]',
  summary:
    'stop N instances of a service (default ws-gateway) one after the other, the emptiest first, each after it was drained; --command stops an instance, {name} is its name',
  options: {
    ...RESTART_OPTIONS,
    service: { type: 'string' },
    timeout: { type: 'string' },
    force: { type: 'boolean' },
    'dry-run': { type: 'boolean' },
  },
  run: async (context) => {
    const service = context.option('service') ?? 'ws-gateway';
    const count = Number(onlyArgument(context, 'number of instances'));
    if (!Number.isInteger(count) || count < 1) throw new UsageError('expected the number of instances to stop');
    const means = restartMeansOf(context);
    const timeoutMs = integerOption(context, 'timeout', { fallback: TIMEOUT_S, max: 86_400 }) * 1_000;
    const watch = createFleetWatch(context, { timeoutMs, isForced: context.isSet('force') });
    const candidates = emptiestFirst(await watch.read(), service);
    if (count >= candidates.length)
      throw new UsageError(`${service} has ${candidates.length} instances: at most ${candidates.length - 1} can stop`);
    if (context.isSet('dry-run')) {
      const lines = candidates.slice(0, count).flatMap((one) => [`drain ${one.name}`, ...means.remove(one)]);
      return { text: lines.join('\n'), json: lines };
    }
    const removed: InstanceReport[] = [];
    // Another aggregator may list an instance for a while after its end.
    const present = (report: FleetReport) =>
      emptiestFirst(report, service).filter(({ id }) => !removed.some((one) => one.id === id));
    while (removed.length < count) {
      const [next] = present(await watch.read());
      if (next === undefined) throw new Error(`${service} has no instance left`);
      const lines = means.remove(next);
      context.note(`${service}: ${next.name} is next, with ${connectionsOf(next)} connections`);
      await drainInstance(watch, service, next, context.note);
      await runLines(lines, timeoutMs);
      await watch.until(
        `the end of ${next.name}`,
        (report) => !present(report).some(({ id }) => id === next.id) || 'it is still listed',
        next.name,
      );
      removed.push(next);
      context.note(`${service}: ${next.name} has stopped`);
    }
    const names = removed.map(({ name }) => name);
    return { text: `stopped ${names.join(', ')}`, json: { removed: names } };
  },
};

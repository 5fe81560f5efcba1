import { MusterError } from '@muster/client/http';
import { errorText } from './error-text.ts';
import type { InstanceReport } from './fleet.ts';
import { connectionsOf, emptiestFirst, type FleetWatch } from './fleet-watch.ts';

/** Time until every load balancer has noticed that an instance is not ready. */
const NOTICE_MS = 3_000;

/**
 * Drains an instance and waits until it is empty. When that fails the instance is resumed, so that it serves again. An instance that
 * is down has nothing to drain.
 */
export const drainInstance = async (
  watch: FleetWatch,
  service: string,
  { name, id, state }: InstanceReport,
  note: (line: string) => void,
): Promise<void> => {
  if (state === 'down') return;
  try {
    await watch.drain(name);
    let shown = -1;
    await watch.until(
      `an empty ${name}`,
      (report) => {
        const instance = emptiestFirst(report, service).find((one) => one.id === id);
        if (instance === undefined) return true;
        const connections = connectionsOf(instance);
        if (instance.state !== 'draining') return `it is ${instance.state}`;
        if (connections !== shown) note(`${service}: ${name} drains, ${connections} connections`);
        shown = connections;
        return (connections === 0 && instance.forMs >= NOTICE_MS) || `${connections} connections are left`;
      },
      name,
    );
  } catch (error) {
    if (error instanceof MusterError && error.status >= 400 && error.status < 500) throw error;
    const outcome = await watch.resume(name).then(
      () => 'it was resumed',
      (fault: unknown) => `it could not be resumed: ${errorText(fault)}`,
    );
    throw new Error(`${errorText(error)}; ${outcome}`, { cause: error });
  }
};

import type { ServerSpec } from '@muster/local/server-process';
import { type SupervisedProcess, type SupervisorDeps, supervise } from './supervisor.ts';

/** Soft stop of HAProxy: open connections are served, new connections rejected. */
const PROXY_SOFT_STOP = 'SIGUSR1';

/** The processes of a fleet, in tiers that stop one after the other. */
export interface ProcessGroup {
  addStore(spec: ServerSpec): SupervisedProcess;
  addService(spec: ServerSpec): SupervisedProcess;
  addProxy(spec: ServerSpec): SupervisedProcess;
  /** Throws for an unknown name. */
  named(name: string): SupervisedProcess;
  pidOf(name: string): number | undefined;
  /** Registers a listener for restarts. */
  onChange(listener: () => void): void;
  /** Stops all processes: gateways, other services, load balancer, stores. */
  stop(): Promise<void>;
  killAll(): void;
}

/** Creates an empty group. */
export const createProcessGroup = ({ lock, log }: Pick<SupervisorDeps, 'lock' | 'log'>): ProcessGroup => {
  const tiers: Record<'proxy' | 'services' | 'stores', SupervisedProcess[]> = { proxy: [], services: [], stores: [] };
  const allProcesses = () => Object.values(tiers).flat();
  let changed = () => {};

  const addTo = (tier: SupervisedProcess[]) => (spec: ServerSpec) => {
    const each = supervise({ spec, log, lock, onChange: () => changed() });
    tier.push(each);
    return each;
  };
  const find = (name: string) => allProcesses().find((each) => each.name === name);

  return {
    addStore: addTo(tiers.stores),
    addService: addTo(tiers.services),
    addProxy: addTo(tiers.proxy),
    named(name) {
      const found = find(name);
      if (found !== undefined) return found;
      const known = allProcesses().map((each) => each.name);
      throw new Error(`unknown process ${name}; expected one of ${known.join(', ')}`);
    },
    pidOf: (name) => find(name)?.pid(),
    onChange(listener) {
      changed = listener;
    },
    async stop() {
      // No new connections during the drain; connected clients still receive the reason of the close.
      for (const proxy of tiers.proxy) proxy.retire(PROXY_SOFT_STOP);
      await stopAll(tiers.services.filter((each) => each.name.startsWith('ws-gateway')));
      await stopAll(tiers.services);
      await stopAll(tiers.proxy);
      await stopAll(tiers.stores);
    },
    killAll() {
      for (const each of allProcesses()) each.retire('SIGKILL');
    },
  };
};

const stopAll = async (servers: readonly SupervisedProcess[]): Promise<void> => {
  await Promise.all(servers.map((each) => each.stop()));
};

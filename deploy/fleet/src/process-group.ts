import type { DirectoryLock } from '@muster/local/directory-lock';
import type { ServerSpec } from '@muster/local/server-process';
import { type SupervisedProcess, supervise } from './supervisor.ts';

/** Stops accepting, serves what is open. */
const PROXY_SOFT_STOP = 'SIGUSR1';

/** All processes of a fleet, and the order in which they end. */
export interface ProcessGroup {
  addStore(spec: ServerSpec): SupervisedProcess;
  addService(spec: ServerSpec): SupervisedProcess;
  addProxy(spec: ServerSpec): SupervisedProcess;
  /** Throws when nobody has that name. */
  named(name: string): SupervisedProcess;
  pidOf(name: string): number | undefined;
  /** Hears of each process that was started again. */
  onChange(listener: () => void): void;
  /** Ends everybody: who serves clients first, the stores last. */
  stop(): Promise<void>;
  killAll(): void;
}

interface ProcessTiers {
  readonly proxy: SupervisedProcess[];
  readonly services: SupervisedProcess[];
  readonly stores: SupervisedProcess[];
}

/** An empty troop. */
export const createProcessGroup = ({
  claim,
  say,
}: {
  claim: DirectoryLock;
  say: (line: string) => void;
}): ProcessGroup => {
  const tiers: ProcessTiers = { proxy: [], services: [], stores: [] };
  const allProcesses = () => [...tiers.proxy, ...tiers.services, ...tiers.stores];
  let changed = () => {};

  const addTo = (rank: SupervisedProcess[]) => (spec: ServerSpec) => {
    const one = supervise({ spec, say, lock: claim, onChange: () => changed() });
    rank.push(one);
    return one;
  };
  const find = (name: string) => allProcesses().find((one) => one.name === name);

  return {
    addStore: addTo(tiers.stores),
    addService: addTo(tiers.services),
    addProxy: addTo(tiers.proxy),
    named(name) {
      const found = find(name);
      if (found !== undefined) return found;
      throw new Error(
        `no process is called ${name}; there are ${allProcesses()
          .map((one) => one.name)
          .join(', ')}`,
      );
    },
    pidOf: (name) => find(name)?.pid(),
    onChange(listener) {
      changed = listener;
    },
    async stop() {
      // Nobody new comes in while sockets are closed properly, and who is connected still hears why.
      for (const proxy of tiers.proxy) proxy.retire(PROXY_SOFT_STOP);
      await stopAll(tiers.services.filter((one) => one.name.startsWith('ws-gateway')));
      await stopAll(tiers.services);
      await stopAll(tiers.proxy);
      await stopAll(tiers.stores);
    },
    killAll() {
      for (const one of allProcesses()) one.retire('SIGKILL');
    },
  };
};

const stopAll = async (servers: readonly SupervisedProcess[]): Promise<void> => {
  await Promise.all(servers.map((one) => one.stop()));
};

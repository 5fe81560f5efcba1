import type { DirectoryLock } from '@muster/local/directory-lock';
import type { ServerSpec } from '@muster/local/server-process';
import { type Supervised, supervise } from './supervisor.ts';

/** Stops accepting, serves what is open. */
const PROXY_SOFT_STOP = 'SIGUSR1';

/** All processes of a fleet, and the order in which they end. */
export interface ProcessGroup {
  addStore(spec: ServerSpec): Supervised;
  addService(spec: ServerSpec): Supervised;
  addProxy(spec: ServerSpec): Supervised;
  /** Throws when nobody has that name. */
  named(name: string): Supervised;
  pidOf(name: string): number | undefined;
  /** Hears of each process that was started again. */
  onChange(listener: () => void): void;
  /** Ends everybody: who serves clients first, the stores last. */
  stop(): Promise<void>;
  killAll(): void;
}

interface Ranks {
  readonly proxy: Supervised[];
  readonly services: Supervised[];
  readonly stores: Supervised[];
}

/** An empty troop. */
export const createProcessGroup = ({
  claim,
  say,
}: {
  claim: DirectoryLock;
  say: (line: string) => void;
}): ProcessGroup => {
  const ranks: Ranks = { proxy: [], services: [], stores: [] };
  const everybody = () => [...ranks.proxy, ...ranks.services, ...ranks.stores];
  let changed = () => {};

  const addTo = (rank: Supervised[]) => (spec: ServerSpec) => {
    const one = supervise({ spec, say, claim, onChange: () => changed() });
    rank.push(one);
    return one;
  };
  const find = (name: string) => everybody().find((one) => one.name === name);

  return {
    addStore: addTo(ranks.stores),
    addService: addTo(ranks.services),
    addProxy: addTo(ranks.proxy),
    named(name) {
      const found = find(name);
      if (found !== undefined) return found;
      throw new Error(
        `no process is called ${name}; there are ${everybody()
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
      for (const proxy of ranks.proxy) proxy.retire(PROXY_SOFT_STOP);
      await stopAll(ranks.services.filter((one) => one.name.startsWith('ws-gateway')));
      await stopAll(ranks.services);
      await stopAll(ranks.proxy);
      await stopAll(ranks.stores);
    },
    killAll() {
      for (const one of everybody()) one.retire('SIGKILL');
    },
  };
};

const stopAll = async (servers: readonly Supervised[]): Promise<void> => {
  await Promise.all(servers.map((one) => one.stop()));
};

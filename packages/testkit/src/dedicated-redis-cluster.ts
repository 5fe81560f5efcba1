import { freePorts } from '@muster/local/ports';
import { redisUrl } from '@muster/local/redis';
import { Redis } from 'ioredis';
import { type DedicatedStore, openDedicatedRedis } from './dedicated-store.ts';
import { type FaultProxy, openFaultProxy } from './fault-proxy.ts';
import { until } from './wait.ts';

export interface ClusterNode extends DedicatedStore {
  /** Connection to this node, without the cluster client. */
  readonly direct: Redis;
  /** With `proxied`, the proxy at the address that the cluster announces. */
  readonly proxy: FaultProxy | undefined;
  /** Node id in the cluster. */
  readonly id: string;
}

/** A Redis Cluster of one test. Primaries have no replicas until `replicate` is called. */
export interface DedicatedRedisCluster extends AsyncDisposable {
  /** Contains the first two nodes; clients discover the others. */
  readonly url: string;
  readonly nodes: readonly ClusterNode[];
  /** The node that owns a slot. */
  ownerOf(slot: number): Promise<ClusterNode>;
  /** Moves a slot to another node, key by key, while it is in use. */
  moveSlot(slot: number, to: ClusterNode): Promise<void>;
  /** Makes a node without slots a replica, and waits until it is in sync. */
  replicate(replica: ClusterNode, primary: ClusterNode): Promise<void>;
  /** Removes all keys; the slots stay assigned. */
  flush(): Promise<void>;
}

const SLOTS = 16_384;
const MIGRATE_TIMEOUT_MS = 5_000;
const KEYS_AT_ONCE = 100;

/** Starts the nodes, assigns the slots except to spare nodes, and waits until all nodes agree. */
export const openDedicatedRedisCluster = async ({
  size = 3,
  spares = 0,
  proxied = false,
} = {}): Promise<DedicatedRedisCluster> => {
  await using stack = new AsyncDisposableStack();
  const count = size + spares;
  const ports = await freePorts(2 * count);
  const starting = Array.from({ length: count }, async (_, index) => {
    const [port = 0, busPort = 0] = [ports[index], ports[count + index]];
    const proxy = proxied ? stack.use(await openFaultProxy(redisUrl(port))) : undefined;
    const extra = [
      ...['--cluster-enabled', 'yes', '--cluster-port', String(busPort), '--cluster-node-timeout', '2000'],
      ...['--cluster-require-full-coverage', 'no', '--cluster-announce-port', String(proxy?.port ?? port)],
    ];
    const store = stack.use(await openDedicatedRedis({ port, persistent: 'always', name: `redis-${index}`, extra }));
    const direct = new Redis(store.url, { lazyConnect: true, maxRetriesPerRequest: null });
    direct.on('error', () => {});
    stack.defer(() => direct.disconnect());
    return { ...store, direct, proxy, busPort, id: String(await direct.cluster('MYID')) };
  });
  const nodes = await Promise.all(starting);
  await formCluster(nodes, size);
  const owned = stack.move();
  const ownerOf = async (slot: number) => findOwner(nodes, slot);
  return {
    url: `redis+cluster://${nodes
      .slice(0, 2)
      .map(({ proxy, port }) => `127.0.0.1:${proxy?.port ?? port}`)
      .join(',')}`,
    nodes,
    ownerOf,
    moveSlot: async (slot, to) => moveSlot(nodes, { slot, from: await ownerOf(slot), to }),
    replicate: async (replica, primary) => {
      await replica.direct.call('CLUSTER', 'REPLICATE', primary.id);
      await until(() => replica.direct.info('replication'), {
        ok: (info) => info.includes('master_link_status:up'),
        what: 'the replica to be in sync',
        timeoutMs: 30_000,
      });
    },
    flush: async () => void (await Promise.all(nodes.map(({ direct }) => direct.flushall()))),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
};

const formCluster = async (nodes: readonly (ClusterNode & { busPort: number })[], size: number): Promise<void> => {
  const share = Math.ceil(SLOTS / size);
  for (const [at, { direct, port, busPort }] of nodes.entries()) {
    await direct.call('CLUSTER', 'SET-CONFIG-EPOCH', at + 1);
    const last = Math.min((at + 1) * share, SLOTS) - 1;
    if (at < size) await direct.call('CLUSTER', 'ADDSLOTSRANGE', at * share, last);
    if (at > 0) await nodes[0]?.direct.call('CLUSTER', 'MEET', '127.0.0.1', port, busPort);
  }
  const readySlots = () =>
    Promise.all(
      nodes.map(async ({ direct }) => {
        const info = String(await direct.cluster('INFO'));
        return /cluster_state:ok/.test(info) && info.includes(`cluster_known_nodes:${nodes.length}`)
          ? Number(/cluster_slots_ok:(\d+)/.exec(info)?.[1])
          : 0;
      }),
    );
  await until(readySlots, {
    ok: (all) => all.every((count) => count === SLOTS),
    what: 'the cluster',
    timeoutMs: 30_000,
  });
};

const findOwner = async (nodes: readonly ClusterNode[], slot: number): Promise<ClusterNode> => {
  for (const node of nodes) {
    const ranges = (await node.direct.cluster('SLOTS')) as unknown as [number, number, [string, number, string]][];
    const mine = ranges.some(([from, to, [, , id]]) => id === node.id && slot >= Number(from) && slot <= Number(to));
    if (mine) return node;
  }
  throw new Error(`slot ${slot} has no owner`);
};

const moveSlot = async (
  nodes: readonly ClusterNode[],
  { slot, from, to }: { slot: number; from: ClusterNode; to: ClusterNode },
): Promise<void> => {
  await to.direct.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', from.id);
  await from.direct.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', to.id);
  for (;;) {
    const keys = (await from.direct.call('CLUSTER', 'GETKEYSINSLOT', slot, KEYS_AT_ONCE)) as string[];
    if (keys.length === 0) break;
    const options = ['127.0.0.1', String(to.port), '', '0', String(MIGRATE_TIMEOUT_MS), 'KEYS'];
    await from.direct.call('MIGRATE', [...options, ...keys]);
  }
  // The new owner first, so that the slot always has an owner.
  for (const { direct } of [to, from, ...nodes.filter((each) => each !== to && each !== from)]) {
    await direct.call('CLUSTER', 'SETSLOT', slot, 'NODE', to.id);
  }
};

import { type GroupKey, tenantOf } from '@muster/bus/group-key';
import { type CloseCode, UnsubscribeCode } from '@muster/protocol/codes';
import type { Payload } from '@muster/protocol/commands';
import { DEFAULT_TENANT, type GroupName } from '@muster/protocol/ids';
import type { ConnectionInfo, NodeInfo } from '@muster/protocol/server-api';
import type { AnyConnection, RefreshRequest, SubscribeRequest } from '../connection/any-connection.ts';
import type { Hub } from '../group/hub.ts';
import { userKeyOf } from '../ports.ts';
import { visitInSlices } from '../time-slicing.ts';
import { matchesGlob } from './glob.ts';
import { EVERY_TENANT } from './params.ts';

/** Connections or groups visited per iteration of the event loop. */
const SLICE = 250;

/** Selects connections. An absent field matches all. */
export interface ControlTarget {
  /** `*` for all; a gateway of an older version names none and means the default tenant. */
  readonly tenant?: string;
  readonly user?: string;
  readonly client?: string;
  readonly session?: string;
  /** Excluded client ids. */
  readonly except?: readonly string[];
}

/** A command of the server API to every gateway. Sent as JSON. */
export type ControlCommand =
  | {
      readonly do: 'disconnect';
      readonly target: ControlTarget;
      readonly code: number;
      readonly reason: string;
    }
  | ({ readonly do: 'subscribe'; readonly target: ControlTarget } & SubscribeRequest)
  | { readonly do: 'unsubscribe'; readonly target: ControlTarget; readonly group: GroupName | '' }
  | { readonly do: 'send'; readonly target: ControlTarget; readonly data: Payload }
  | ({ readonly do: 'refresh'; readonly target: ControlTarget } & RefreshRequest)
  | {
      readonly do: 'connections';
      readonly target: ControlTarget;
      readonly group: GroupName | '';
      readonly limit: number;
    }
  | { readonly do: 'channels'; readonly pattern: string; readonly tenant?: string }
  | { readonly do: 'forget'; readonly group: GroupKey; readonly offset: number; readonly epoch: string }
  | { readonly do: 'info'; readonly tenant?: string };

/** Name, members and tenant of a group; a gateway of an older version names no tenant. */
export type GroupSize = readonly [name: string, size: number, tenant?: string];

export interface ControlCommandDeps {
  readonly hub: Hub;
  readonly connections: () => Iterable<AnyConnection>;
  readonly gateway: string;
  readonly version: string;
  readonly startedAt: number;
  now(): number;
}

/** Executes a command on this gateway. Resolves with the number of affected connections, or with the requested data. */
export const createControlCommands =
  (deps: ControlCommandDeps) =>
  async (command: ControlCommand): Promise<unknown> => {
    switch (command.do) {
      case 'disconnect':
        return countOf(matching(deps, command.target), (one) => {
          one.close(command.code as CloseCode, command.reason);
          return true;
        });
      case 'subscribe':
        return countOf(matching(deps, command.target), (one) => one.joinFromServer(command).catch(() => false));
      case 'send':
        return countOf(matching(deps, command.target), (one) => one.send(command.data));
      case 'refresh':
        return countOf(matching(deps, command.target), (one) => one.refreshFromServer(command));
      case 'unsubscribe':
        return countOf(matching(deps, command.target), (one) => unsubscribeFrom(one, command.group));
      case 'connections':
        return matching(deps, command.target)
          .filter(({ groups }) => command.group === '' || groups.includes(command.group))
          .slice(0, command.limit)
          .map((one) => connectionInfoOf(one, deps.gateway));
      case 'channels':
        return groupsOf(deps.hub, command.pattern ?? '', command.tenant);
      case 'forget':
        deps.hub.groupOf(command.group)?.follower?.dropThrough(command);
        return true;
      case 'info':
        return nodeInfoOf(deps, command.tenant ?? EVERY_TENANT);
      default:
        return command satisfies never;
    }
  };

const isOf = (tenant: string, wanted: string = DEFAULT_TENANT): boolean => wanted === EVERY_TENANT || tenant === wanted;

const matching = ({ connections }: ControlCommandDeps, target: ControlTarget): AnyConnection[] => {
  const { user, client, session } = target;
  const except = new Set(target.except);
  return [...connections()].filter(
    (one) =>
      one.identity !== undefined &&
      isOf(one.identity.tenant, target.tenant) &&
      (user === undefined || one.identity.user === user) &&
      (client === undefined || one.id === client) &&
      (session === undefined || one.identity.sessionId === session) &&
      !except.has(one.id),
  );
};

/** Applies `act` to each connection, in slices, and counts the affected connections. */
const countOf = async (
  found: readonly AnyConnection[],
  act: (one: AnyConnection) => boolean | Promise<boolean>,
): Promise<number> => {
  let count = 0;
  const pending: Promise<void>[] = [];
  const add = (isAffected: boolean): void => {
    if (isAffected) count += 1;
  };
  await visitInSlices(found, SLICE, (one) => {
    const result = act(one);
    if (typeof result === 'boolean') add(result);
    else pending.push(result.then(add));
  });
  await Promise.all(pending);
  return count;
};

const groupsOf = async (hub: Hub, pattern: string, tenant: string | undefined): Promise<GroupSize[]> => {
  const found: GroupSize[] = [];
  await visitInSlices([...hub.groups()], SLICE, ({ key, name, size }) => {
    const of = tenantOf(key);
    if (isOf(of, tenant) && matchesGlob(pattern, name)) found.push([name, size, of]);
  });
  return found;
};

/** False when the connection was not subscribed. Closes a plain connection. */
const unsubscribeFrom = (one: AnyConnection, group: GroupName | ''): boolean => {
  const groups = one.groups.filter((name) => group === '' || name === group);
  for (const name of groups) one.unsubscribe(name as GroupName, UnsubscribeCode.Server);
  return groups.length > 0;
};

const connectionInfoOf = (one: AnyConnection, gateway: string): ConnectionInfo => ({
  tenant: one.identity?.tenant ?? DEFAULT_TENANT,
  client: one.id,
  user: one.identity?.user ?? '',
  session: one.identity?.sessionId ?? '',
  gateway,
  transport: one.transport,
  groups: one.groups,
  since: one.since,
  lag: one.lagBytes,
  behind: one.laggingGroups,
});

const nodeInfoOf = (deps: ControlCommandDeps, tenant: string): NodeInfo => {
  const all = matching(deps, { tenant });
  const groups = [...deps.hub.groups()].filter(({ key }) => isOf(tenantOf(key), tenant));
  return {
    uid: deps.gateway,
    name: deps.gateway,
    version: deps.version,
    num_clients: all.length,
    num_users: new Set(all.map(({ identity }) => identity && userKeyOf(identity))).size,
    num_subs: groups.reduce((sum, { size }) => sum + size, 0),
    num_channels: groups.length,
    uptime: Math.floor((deps.now() - deps.startedAt) / 1000),
  };
};

import { signal } from '@preact/signals';
import type {
  GroupAddress,
  GroupMembers,
  GroupStreamPosition,
  SocketInfo,
} from '../../core/operator-ports.ts';
import { InteractionTracker, keepOrder } from '../stable-order.ts';
import { pathWith, requestAsOperator } from './operator-api.ts';

/** The groups that have members. */
export interface GroupList {
  readonly items: readonly GroupMembers[];
  readonly total: number;
  /** Gateways that did not answer: their members are not counted. */
  readonly silent: readonly string[];
  readonly onlyTenant: string | null;
}

/** One group. */
export interface GroupInfo {
  readonly group: string;
  readonly tenant: string;
  /** Null when none is known and somebody did not answer. */
  readonly members: number | null;
  readonly silent: readonly string[];
  readonly onlyTenant: string | null;
  /** True when there are more members than were counted. */
  readonly more: boolean;
  readonly gateways: number;
  readonly byGateway: readonly {
    readonly gateway: string;
    readonly members: number;
    readonly lagBytes: number;
  }[];
  readonly sockets: readonly SocketInfo[];
  readonly position: GroupStreamPosition | null;
}

const MAX_RATES = 60;

/** While it is there the list keeps its order. */
export const groupAttention = new InteractionTracker();

export const groupList = signal<GroupList | undefined>(undefined);
export const currentGroup = signal<GroupInfo | undefined>(undefined);
export const groupError = signal('');
/** Publications a second, as this page saw them, oldest first. */
export const publicationRates = signal<readonly number[]>([]);

let lastPosition: { readonly position: GroupStreamPosition; readonly at: number } | undefined;

/** Forgets the group of before. */
export const resetGroup = (): void => {
  currentGroup.value = undefined;
  publicationRates.value = [];
  lastPosition = undefined;
  groupError.value = '';
};

/** The path of a group; an empty tenant is the default of the aggregator. */
export const groupPath = ({ group, tenant }: GroupAddress, below = ''): string =>
  pathWith(`/v1/operator/groups/${encodeURIComponent(group)}${below}`, { tenant });

/** What tells groups of several tenants apart. */
export const groupKey = ({ group, tenant }: GroupAddress): string => `${tenant} ${group}`;

export const loadGroups = async (
  query: { readonly pattern: string; readonly tenant: string },
  isCurrent: () => boolean,
): Promise<void> => {
  const answer = await requestAsOperator<GroupList>(pathWith('/v1/operator/groups', query));
  if (!isCurrent()) return;
  groupError.value = answer.ok ? '' : answer.why;
  if (!answer.ok) return;
  const before = groupList.value?.items ?? [];
  const { items } = answer.data;
  const stable = groupAttention.isActive ? keepOrder(before, items, groupKey) : items;
  groupList.value = { ...answer.data, items: stable };
};

export const loadGroup = async (group: GroupAddress, isCurrent: () => boolean): Promise<void> => {
  const answer = await requestAsOperator<GroupInfo>(groupPath(group));
  if (!isCurrent()) return;
  groupError.value = answer.ok ? '' : answer.why;
  if (!answer.ok) return;
  currentGroup.value = answer.data;
  recordRate(answer.data.position);
};

/** How far the group has come since the last look is its rate. */
const recordRate = (position: GroupStreamPosition | null): void => {
  const at = performance.now();
  const isSameStream =
    lastPosition !== undefined && position !== null && lastPosition.position.epoch === position.epoch;
  if (lastPosition && isSameStream && position) {
    const rate = ((position.offset - lastPosition.position.offset) * 1_000) / (at - lastPosition.at);
    publicationRates.value = [...publicationRates.value, Math.max(0, rate)].slice(-MAX_RATES);
  }
  lastPosition = position === null ? undefined : { position, at };
};

/** Publishes text: JSON as it is, everything else as a string. Answers what came of it. */
export const publishToGroup = async (
  group: GroupAddress,
  text: string,
): Promise<{ ok: boolean; said: string }> => {
  const answer = await requestAsOperator<{ position: GroupStreamPosition | null }>(
    groupPath(group, '/publications'),
    {
      method: 'POST',
      body: JSON.stringify({ data: dataOf(text) }),
    },
  );
  if (!answer.ok) return { ok: false, said: answer.why };
  const { position } = answer.data;
  return { ok: true, said: position ? `Published as number ${position.offset}.` : 'Published.' };
};

/** JSON text as its value, other text as it is. */
export const dataOf = (text: string): unknown => {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
};

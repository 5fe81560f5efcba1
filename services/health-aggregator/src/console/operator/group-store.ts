import { signal } from '@preact/signals';
import type { GroupAddress, GroupMembers, GroupStreamPosition, SocketInfo } from '../../core/operator-ports.ts';
import { pathWith, requestAsOperator } from '../operator-api.ts';
import { InteractionTracker, keepOrder } from '../stable-order.ts';

/** Groups with members. */
export interface GroupList {
  readonly items: readonly GroupMembers[];
  readonly total: number;
  /** Gateways that did not respond; their members are not counted. */
  readonly silent: readonly string[];
  readonly onlyTenant: string | null;
}

/** Details of one group. */
export interface GroupInfo {
  readonly group: string;
  readonly tenant: string;
  /** Null when unknown: no member was counted and a gateway did not respond. */
  readonly members: number | null;
  readonly silent: readonly string[];
  readonly onlyTenant: string | null;
  /** True when the count is a lower bound. */
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

/** Keeps the order of the list while it is in use. */
export const groupAttention = new InteractionTracker();

export const groupList = signal<GroupList | undefined>(undefined);
export const currentGroup = signal<GroupInfo | undefined>(undefined);
export const groupError = signal('');
/** Publications per second, sampled by this page, oldest first. */
export const publicationRates = signal<readonly number[]>([]);

let lastPosition: { readonly position: GroupStreamPosition; readonly at: number } | undefined;

/** Clears the state of the previous group. */
export const resetGroup = (): void => {
  currentGroup.value = undefined;
  publicationRates.value = [];
  lastPosition = undefined;
  groupError.value = '';
};

/** Path of a group; an empty tenant is the default of the aggregator. */
export const groupPath = ({ group, tenant }: GroupAddress, below = ''): string =>
  pathWith(`/v1/operator/groups/${encodeURIComponent(group)}${below}`, { tenant });

/** Unique key of a group among tenants. */
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

/** Derives the rate from the offsets of two samples. */
const recordRate = (position: GroupStreamPosition | null): void => {
  const at = performance.now();
  if (lastPosition && position && lastPosition.position.epoch === position.epoch) {
    const rate = ((position.offset - lastPosition.position.offset) * 1_000) / (at - lastPosition.at);
    publicationRates.value = [...publicationRates.value, Math.max(0, rate)].slice(-MAX_RATES);
  }
  lastPosition = position === null ? undefined : { position, at };
};

/** Publishes JSON as it is, other text as a string. Resolves with a message for the form. */
export const publishToGroup = async (group: GroupAddress, text: string): Promise<{ ok: boolean; message: string }> => {
  const answer = await requestAsOperator<{ position: GroupStreamPosition | null }>(groupPath(group, '/publications'), {
    method: 'POST',
    body: JSON.stringify({ data: dataOf(text) }),
  });
  if (!answer.ok) return { ok: false, message: answer.why };
  const { position } = answer.data;
  return { ok: true, message: position ? `Published at offset ${position.offset}.` : 'Published.' };
};

/** Value of JSON text; other text unchanged. */
export const dataOf = (text: string): unknown => {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
};

/** What a session may do in a group. */
export const GROUP_ACTIONS = ['subscribe', 'publish', 'presence', 'history'] as const;
export type GroupAction = (typeof GROUP_ACTIONS)[number];

/** Widens what namespaces allow, for one session. `groups` is a name or a prefix ending in `*`. */
export interface SessionGrant {
  readonly groups: string;
  readonly allow: readonly GroupAction[];
}

/** True if one of the grants names this group and this action. */
export const isGranted = (
  grants: readonly SessionGrant[] | undefined,
  group: string,
  action: GroupAction,
): boolean =>
  grants?.some((grant) => matchesGroup(grant.groups, group) && grant.allow.includes(action)) ?? false;

/** True if everything that `wanted`, a name or a prefix ending in `*`, names is named by one of the patterns. */
export const coversGroups = (patterns: readonly string[], wanted: string): boolean =>
  patterns.some((pattern) => matchesGroup(pattern, wanted));

const matchesGroup = (pattern: string, group: string): boolean =>
  pattern.endsWith('*') ? group.startsWith(pattern.slice(0, -1)) : pattern === group;

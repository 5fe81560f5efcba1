/** Actions of a session in a group. */
export const GROUP_ACTIONS = ['subscribe', 'publish', 'presence', 'history'] as const;
export type GroupAction = (typeof GROUP_ACTIONS)[number];

/** Permission of one session beyond those of namespaces. `groups` is a name, or a prefix before `*`. */
export interface SessionGrant {
  readonly groups: string;
  readonly allow: readonly GroupAction[];
}

/** True if a grant allows this action in this group. */
export const isGranted = (grants: readonly SessionGrant[] | undefined, group: string, action: GroupAction): boolean =>
  grants?.some((grant) => matchesGroup(grant.groups, group) && grant.allow.includes(action)) ?? false;

/** True if one pattern includes all groups of `wanted`, a name or a prefix before `*`. */
export const coversGroups = (patterns: readonly string[], wanted: string): boolean =>
  patterns.some((pattern) => matchesGroup(pattern, wanted));

const matchesGroup = (pattern: string, group: string): boolean =>
  pattern.endsWith('*') ? group.startsWith(pattern.slice(0, -1)) : pattern === group;

import type { ClientIdentity } from './ports.ts';

/** What tells users of all tenants apart. The name of a tenant cannot hold a line break, so no two users share one. */
export const userKeyOf = ({ tenant, user }: Pick<ClientIdentity, 'tenant' | 'user'>): string =>
  `${tenant}\n${user}`;

import type { GroupKey } from '@muster/bus/group-key';
import type { GroupName } from '@muster/protocol/ids';

/** The names of one group. */
export interface GroupIdentity {
  /** Tenant and name; the key in the bus and in the registry. */
  readonly key: GroupKey;
  /** Name for the clients of its tenant. */
  readonly name: GroupName;
  /** Number of the group on this gateway, from 1; clients with channel compaction receive it in place of the name. */
  readonly id: number;
}

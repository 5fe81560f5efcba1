import type { GroupKey } from './group-key.ts';

/** The Redis names of one group. All carry its name as hash tag, so a cluster keeps them in one slot. */
export interface GroupKeys {
  /** Pub/sub channel. */
  readonly channel: string;
  /** Stream of kept publications. */
  readonly stream: string;
  /** Hash: epoch and top offset. */
  readonly meta: string;
  /** Hash: who is there. */
  readonly presence: string;
  /** Starts the keys that remember what an idempotency key was answered. */
  readonly result: string;
  /** Starts the keys that remember which idempotency keys of unkept publications were used. */
  readonly unkeptResult: string;
}

/** Names of a group's keys. Braces are escaped, for they would cut the hash tag short, and so is what parts a tenant from a name. */
export const groupKeys = (prefix: string, group: GroupKey): GroupKeys => {
  const tag = group.replace(/[{}%]|[^ -~]/g, (char) => ESCAPES[char] ?? char);
  return {
    channel: `${prefix}g:{${tag}}`,
    stream: `${prefix}gs:{${tag}}`,
    meta: `${prefix}gm:{${tag}}`,
    presence: `${prefix}gp:{${tag}}`,
    result: `${prefix}gi:{${tag}}:`,
    unkeptResult: `${prefix}gu:{${tag}}:`,
  };
};

const ESCAPES: Readonly<Record<string, string>> = { '{': '%7B', '}': '%7D', '%': '%25', '\x1f': '%1F' };

import type { GroupKey } from './group-key.ts';

/** Redis names of one group. Its key is their hash tag, so on a cluster they share a slot. */
export interface GroupKeys {
  /** Pub/sub channel. */
  readonly channel: string;
  /** Stream of kept publications. */
  readonly stream: string;
  /** Hash: epoch and top offset. */
  readonly meta: string;
  /** Hash: client → presence. */
  readonly presence: string;
  /** Prefix of the keys with the result of an idempotency key. */
  readonly result: string;
  /** Prefix of the keys that mark the idempotency keys of unkept publications. */
  readonly unkeptResult: string;
}

/** Names of a group's keys. Braces, which would end the hash tag, and the separator of the tenant are percent-escaped. */
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

import type { GroupKey } from './group-key.ts';
import type { GroupPosition } from './position.ts';
import type { PublicationDraft, StreamEntry } from './publication-encoding.ts';

/** Bounds of a group's stream. */
export interface StreamRetention {
  /** Number of publications. */
  readonly size: number;
  readonly ttlMs: number;
  /** Lifetime of offset and epoch after the last use; longer than `ttlMs`. Subscribers count as use. */
  readonly metaTtlMs: number;
}

export interface AppendOptions {
  readonly retention: StreamRetention;
  /** A second append with the same key within five minutes changes nothing and returns the first result. */
  readonly idempotencyKey?: string | undefined;
  /** Accepted only when newer than the last version of the same version epoch. */
  readonly version?: { readonly number: number; readonly epoch: string } | undefined;
  /** Creates a missing stream only when a replica subscribes to the group; otherwise nothing is published or kept. */
  readonly onlyIfSubscribed?: boolean | undefined;
}

export interface Appended extends GroupPosition {
  /**
   * Nothing was published for `repeated` (the key was used before), `outdated` (a newer version exists) and `no_subscribers`
   * (neither a stream nor a subscriber).
   */
  readonly outcome: 'published' | 'repeated' | 'outdated' | 'no_subscribers';
}

/** Range of a read: in order after an offset, or newest first. */
export interface StreamQuery {
  /** Only entries after (reverse: before) this offset. */
  readonly from?: number;
  readonly limit: number;
  readonly reverse?: boolean;
  /** Bound of the sum of all texts; the first entry is read whatever its size. Default: none. */
  readonly maxBytes?: number;
  readonly retention: StreamRetention;
}

export interface StreamPage {
  readonly top: GroupPosition;
  readonly entries: readonly StreamEntry[];
  /** Remaining lifetime of the stream without further appends; 0 when it does not exist. */
  readonly remainingMs: number;
}

/** A query for the end of a stream. */
export interface TopQuery {
  readonly group: GroupKey;
  /** Above 0: remaining lifetime of offset and epoch to set, in ms. */
  readonly keepMs: number;
  /** Where the stream is expected to end. */
  readonly known?: GroupPosition;
}

/** Kept publications of groups. All methods throw {@link AppError} REDIS_UNAVAILABLE when the store is unavailable. */
export interface Streams {
  /** Assigns the next offset, keeps the publication and publishes it, atomically. */
  append(group: GroupKey, draft: PublicationDraft, options: AppendOptions): Promise<Appended>;
  /** End of the stream; a missing stream gets an epoch. */
  top(group: GroupKey, retention: StreamRetention): Promise<GroupPosition>;
  read(group: GroupKey, query: StreamQuery): Promise<StreamPage>;
  /** End of the stream with its newest publication; a missing stream gets an epoch. Calls of one turn are one command. */
  newest(group: GroupKey, retention: StreamRetention): Promise<StreamPage>;
  /** Ends of many streams; undefined for a missing stream. */
  tops(groups: readonly TopQuery[]): Promise<(GroupPosition | undefined)[]>;
  /**
   * Replaces the epoch if the end of the stream is below an offset that was seen in this epoch: the store has lost accepted
   * publications. Resolves with the current position.
   */
  invalidateEpoch(group: GroupKey, seen: GroupPosition, retention: StreamRetention): Promise<GroupPosition>;
  /** Removes the publications and notifies every subscribed replica; offset and epoch stay. Resolves with the end. */
  clear(group: GroupKey): Promise<GroupPosition>;
}

/** Lifetime of the result of an idempotency key, in ms. */
export const IDEMPOTENCY_TTL_MS = 300_000;

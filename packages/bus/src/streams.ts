import type { GroupKey } from './group-key.ts';
import type { GroupPosition } from './position.ts';
import type { PublicationDraft, StreamEntry } from './publication-encoding.ts';

/** How much of a group's publications is kept, and for how long. */
export interface StreamRetention {
  /** Publications. */
  readonly size: number;
  readonly ttlMs: number;
  /** Life of offset and epoch after the last use; longer than `ttlMs`. Members of the group count as use. */
  readonly metaTtlMs: number;
}

export interface AppendOptions {
  readonly retention: StreamRetention;
  /** Appending again with the same key within five minutes changes nothing and gives the first answer. */
  readonly idempotencyKey?: string;
  /** Of several versions of something only a newer one than the last is accepted. */
  readonly version?: { readonly number: number; readonly epoch: string };
  /** A stream that does not exist is created only where a replica listens to the group; otherwise nothing is published or kept. */
  readonly onlyIfSubscribed?: boolean;
}

export interface Appended extends GroupPosition {
  /**
   * `repeated`: this key was used before. `outdated`: a newer version is there. `no_subscribers`: there is neither a stream nor
   * anybody who listens. Nothing was published then.
   */
  readonly outcome: 'published' | 'repeated' | 'outdated' | 'no_subscribers';
}

/** What to read: after an offset in order, or the newest first. */
export interface StreamQuery {
  /** Only entries after (reverse: before) this offset. */
  readonly from?: number;
  readonly limit: number;
  readonly reverse?: boolean;
  /** Bytes of all texts together; left out for no bound. The first entry is read whatever its size. */
  readonly maxBytes?: number;
  readonly retention: StreamRetention;
}

export interface StreamPage {
  readonly top: GroupPosition;
  readonly entries: readonly StreamEntry[];
  /** Milliseconds for which the stream is kept from the moment of reading if nothing is appended; 0 when it is not there. */
  readonly lastsMs: number;
}

/** The kept publications of groups. All methods throw {@link AppError} REDIS_UNAVAILABLE when the store cannot be reached. */
export interface Streams {
  /** Assigns the next offset, keeps the publication and gives it to the bus, in one step. */
  append(group: GroupKey, draft: PublicationDraft, options: AppendOptions): Promise<Appended>;
  /** The end of the stream; a stream that does not exist is given an epoch. */
  top(group: GroupKey, retention: StreamRetention): Promise<GroupPosition>;
  read(group: GroupKey, query: StreamQuery): Promise<StreamPage>;
  /**
   * The ends of many streams; undefined for one that does not exist any more. `keepMs` gives a stream so much more to
   * live, 0 changes nothing.
   */
  tops(
    groups: readonly { readonly group: GroupKey; readonly keepMs: number }[],
  ): Promise<(GroupPosition | undefined)[]>;
  /**
   * Gives the stream another epoch if its top is below an offset that was seen in this epoch: the store has lost
   * publications that were accepted. Resolves with the position that holds then.
   */
  invalidateEpoch(group: GroupKey, seen: GroupPosition, retention: StreamRetention): Promise<GroupPosition>;
  /** Forgets the publications and tells every replica that listens to the group; offset and epoch go on. Resolves with the end. */
  clear(group: GroupKey): Promise<GroupPosition>;
}

/** How long the answer to an idempotency key is remembered, in ms. */
export const IDEMPOTENCY_TTL_MS = 300_000;

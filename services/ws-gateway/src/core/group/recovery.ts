import type { GroupKey } from '@muster/bus/group-key';
import type { GroupPosition } from '@muster/bus/position';
import { publicationOf } from '@muster/bus/publication-encoding';
import type { StreamPage } from '@muster/bus/streams';
import type { StreamPosition } from '@muster/protocol/commands';
import { MAX_RECOVERED_PUBLICATIONS } from '@muster/protocol/limits';
import type { PublicationText } from '@muster/protocol/replies';
import type { StreamFollower } from './stream-follower.ts';
import { bytesOfTexts } from './stream-read-limit.ts';

/** Where a new subscription starts. */
export interface RecoveryStart {
  /** Position after which publications are delivered live. */
  readonly position: GroupPosition;
  /** Present when the client requested a recovery. */
  readonly recovery?:
    | { readonly ok: true; readonly publications: readonly PublicationText[]; readonly bytes: number }
    | { readonly ok: false };
}

/** Bytes of recovered publications left for one reply, of all groups in it. */
export interface RecoveryBudget {
  leftBytes: number;
}

export interface RecoveryOptions {
  /** Undefined: no recovery is requested. */
  readonly from: StreamPosition | undefined;
  readonly mode: 'stream' | 'cache';
  readonly budget: RecoveryBudget;
  /** Performs a read under the client's read quota. */
  paced(read: () => Promise<StreamPage | undefined>): Promise<StreamPage | undefined>;
}

/** Either the start, valid in this turn only, or work after which {@link Recovery.next} is called again. */
type Step = { readonly start: RecoveryStart } | { readonly work: Promise<unknown> };

const MAX_READS = 3;

/**
 * Recovers one client from its position to that of the group. {@link next} is called until it returns a start, and the client must
 * go live in the same turn: then no publication is lost or repeated, without a buffer.
 */
export class Recovery {
  readonly #group: GroupKey;
  readonly #follower: StreamFollower;
  readonly #options: RecoveryOptions;
  /** Publications that were read, from `from.offset + 1` on. */
  #read: readonly PublicationText[] = [];
  #last: { readonly offset: number; readonly text: PublicationText } | undefined;
  #reads = 0;

  constructor(group: GroupKey, follower: StreamFollower, options: RecoveryOptions) {
    this.#group = group;
    this.#follower = follower;
    this.#options = options;
  }

  next(): Step {
    if (!this.#follower.isCurrent) return { work: this.#follower.repair() };
    const { from, mode } = this.#options;
    const { position } = this.#follower;
    if (from === undefined) return { start: { position } };
    if (from.epoch !== '' && from.epoch !== position.epoch) return this.#failed();
    if (from.offset === position.offset) return this.#recovered([]);
    return mode === 'cache' ? this.#newest() : this.#missing(from.offset, position.offset);
  }

  #missing(from: number, to: number): Step {
    if (this.#reads >= MAX_READS) return this.#failed();
    if (from > to) {
      // The client is ahead: another gateway has delivered what has not arrived here yet.
      this.#reads += 1;
      return { work: this.#follower.repair() };
    }
    if (to - from > MAX_RECOVERED_PUBLICATIONS || from < this.#follower.removedThrough) return this.#failed();
    const reached = from + this.#read.length;
    if (reached >= to) return this.#recovered(this.#read.slice(0, to - from));
    const rest = this.#follower.recentAfter(reached);
    if (rest !== undefined) {
      return this.#recovered([...this.#read, ...rest.map((message) => publicationOf(this.#group, message))]);
    }
    return { work: this.#readFrom(from) };
  }

  async #readFrom(from: number): Promise<void> {
    this.#reads += 1;
    // During the wait another client may have read the same: then it is in memory.
    const page = await this.#options.paced(async () =>
      this.#follower.recentAfter(from) === undefined ? this.#follower.readAfter(from) : undefined,
    );
    if (page === undefined) return undefined;
    const { entries, top } = page;
    if (top.epoch !== this.#follower.position.epoch) return this.#follower.repair();
    const last = entries.at(-1)?.offset ?? 0;
    const isWhole = entries[0]?.offset === from + 1;
    // Larger than one reply, or no longer retained: a further read would not help.
    const isCut = last < top.offset && last - from < MAX_RECOVERED_PUBLICATIONS;
    if (isWhole && !isCut) this.#read = entries.map(({ text }) => text);
    else this.#reads = MAX_READS;
  }

  #newest(): Step {
    const { position } = this.#follower;
    if (position.offset <= this.#follower.removedThrough) return this.#failed();
    const { newest } = this.#follower;
    if (newest !== undefined) return this.#recovered([publicationOf(this.#group, newest)]);
    if (this.#last?.offset === position.offset) return this.#recovered([this.#last.text]);
    if (this.#reads >= MAX_READS) return this.#failed();
    return { work: this.#readNewest() };
  }

  async #readNewest(): Promise<void> {
    this.#reads += 1;
    const page = await this.#options.paced(() => this.#follower.readNewest());
    const entries = page?.entries ?? [];
    if (entries[0] === undefined) this.#reads = MAX_READS;
    else this.#last = entries[0];
  }

  #recovered(publications: readonly PublicationText[]): Step {
    const bytes = bytesOfTexts(publications);
    if (bytes > this.#options.budget.leftBytes) return this.#failed();
    return { start: { position: this.#follower.position, recovery: { ok: true, publications, bytes } } };
  }

  #failed(): Step {
    return { start: { position: this.#follower.position, recovery: { ok: false } } };
  }
}

import { publicationOf } from '@muster/bus/draft';
import type { GroupPosition } from '@muster/bus/position';
import type { StreamPosition } from '@muster/protocol/commands';
import type { GroupName } from '@muster/protocol/ids';
import { MAX_RECOVERED_PUBLICATIONS } from '@muster/protocol/limits';
import type { PublicationText } from '@muster/protocol/replies';
import type { Follower } from './follower.ts';

/** What a new member starts from. */
export interface Start {
  /** The position from which publications follow. */
  readonly position: GroupPosition;
  /** Present when the client asked to catch up. */
  readonly recovery?:
    | { readonly ok: true; readonly publications: readonly PublicationText[] }
    | { readonly ok: false };
}

/** Either the start, valid in this very turn, or work after which to ask again. */
type Step = { readonly start: Start } | { readonly work: Promise<unknown> };

const MAX_READS = 3;

/**
 * Brings one client from its position to that of the group. Must be asked again until it answers with a start, and the
 * client must go live in the same turn: then nothing is missing and nothing comes twice, without buffering for it.
 */
export class Recovery {
  readonly #group: GroupName;
  readonly #follower: Follower;
  readonly #wish: StreamPosition | undefined;
  readonly #mode: 'stream' | 'cache';
  /** Texts that were read, from `wish.offset + 1` on. */
  #read: readonly PublicationText[] = [];
  #last: { readonly offset: number; readonly text: PublicationText } | undefined;
  #reads = 0;

  constructor(
    group: GroupName,
    follower: Follower,
    options: { readonly wish: StreamPosition | undefined; readonly mode: 'stream' | 'cache' },
  ) {
    this.#group = group;
    this.#follower = follower;
    this.#wish = options.wish;
    this.#mode = options.mode;
  }

  next(): Step {
    if (!this.#follower.isCurrent) return { work: this.#follower.repair() };
    const wish = this.#wish;
    const { position } = this.#follower;
    if (wish === undefined) return { start: { position } };
    if (wish.epoch !== '' && wish.epoch !== position.epoch) return this.#failed();
    if (wish.offset === position.offset) return this.#recovered([]);
    return this.#mode === 'cache' ? this.#newest() : this.#missing(wish.offset, position.offset);
  }

  #missing(from: number, to: number): Step {
    if (this.#reads >= MAX_READS) return this.#failed();
    if (from > to) {
      // The client is ahead: it heard from another gateway what is still on its way to this one.
      this.#reads += 1;
      return { work: this.#follower.repair() };
    }
    if (to - from > MAX_RECOVERED_PUBLICATIONS) return this.#failed();
    const reached = from + this.#read.length;
    if (reached >= to) return this.#recovered(this.#read.slice(0, to - from));
    const rest = this.#follower.ring.after(reached);
    if (rest !== undefined) {
      return this.#recovered([...this.#read, ...rest.map((message) => publicationOf(this.#group, message))]);
    }
    return { work: this.#readFrom(from) };
  }

  async #readFrom(from: number): Promise<void> {
    this.#reads += 1;
    const { entries } = await this.#follower.readAfter(from, MAX_RECOVERED_PUBLICATIONS);
    const isWhole = entries[0]?.offset === from + 1;
    if (isWhole) this.#read = entries.map(({ text }) => text);
    else this.#reads = MAX_READS; // Not kept any more: reading again would not help.
  }

  #newest(): Step {
    const { position } = this.#follower;
    if (position.offset === 0) return this.#failed();
    const inRing = this.#follower.ring.get(position.offset);
    if (inRing !== undefined) return this.#recovered([publicationOf(this.#group, inRing)]);
    if (this.#last?.offset === position.offset) return this.#recovered([this.#last.text]);
    if (this.#reads >= MAX_READS) return this.#failed();
    return { work: this.#readNewest() };
  }

  async #readNewest(): Promise<void> {
    this.#reads += 1;
    const { entries } = await this.#follower.readLast();
    if (entries[0] === undefined) this.#reads = MAX_READS;
    else this.#last = entries[0];
  }

  #recovered(publications: readonly PublicationText[]): Step {
    return { start: { position: this.#follower.position, recovery: { ok: true, publications } } };
  }

  #failed(): Step {
    return { start: { position: this.#follower.position, recovery: { ok: false } } };
  }
}

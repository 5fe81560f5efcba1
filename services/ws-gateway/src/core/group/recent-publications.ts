import type { BusMessage } from '@muster/bus/envelope';

/** Bytes that all rings of a process may hold together. */
export interface RecentPublicationsBudget {
  readonly maxBytes: number;
  usedBytes: number;
}

/** Publications of one group that a ring may hold. */
const MAX_MESSAGES = 100;
/** Bytes of one group that a ring may hold. */
const MAX_BYTES = 65_536;

/** The newest publications of one group, without holes, so that a resume right after a drop asks nobody. */
export class RecentPublications {
  readonly #budget: RecentPublicationsBudget;
  #messages: BusMessage[] = [];
  #bytes = 0;
  #maxMessages: number;

  /** `kept`: publications that the stream of the group keeps. */
  constructor(budget: RecentPublicationsBudget, kept: number) {
    this.#budget = budget;
    this.#maxMessages = Math.min(kept, MAX_MESSAGES);
  }

  /** The stream keeps another number of publications from now on. */
  resize(kept: number): void {
    this.#maxMessages = Math.min(kept, MAX_MESSAGES);
    this.#trim();
  }

  /** Takes the next publication. One that does not follow the last begins anew. */
  push(message: BusMessage): void {
    const last = this.#messages.at(-1);
    if (last !== undefined && (last.offset + 1 !== message.offset || last.epoch !== message.epoch))
      this.clear();
    const size = message.body.length;
    if (size > MAX_BYTES || this.#budget.usedBytes + size > this.#budget.maxBytes) {
      this.clear();
      return;
    }
    this.#messages.push(message);
    this.#count(size);
    this.#trim();
  }

  /**
   * Takes publications that were read from the stream and end right before what it holds, or before `next` when it holds
   * nothing. As many of the newest as fit; none when there is a hole in between.
   */
  backfill(older: readonly BusMessage[], next: number): void {
    const from = this.#messages[0]?.offset ?? next;
    if (older.at(-1)?.offset !== from - 1) return;
    const kept: BusMessage[] = [];
    let bytes = 0;
    for (let at = older.length - 1; at >= 0; at -= 1) {
      const message = older[at];
      if (message === undefined || message.offset !== from - 1 - kept.length) break;
      bytes += message.body.length;
      const isFull =
        this.#messages.length + kept.length >= this.#maxMessages || this.#bytes + bytes > MAX_BYTES;
      if (isFull || this.#budget.usedBytes + bytes > this.#budget.maxBytes) break;
      kept.push(message);
    }
    if (kept.length === 0) return;
    this.#count(kept.reduce((sum, { body }) => sum + body.length, 0));
    this.#messages = [...kept.reverse(), ...this.#messages];
  }

  /** All publications after an offset; undefined when the ring does not reach back that far. */
  after(offset: number): readonly BusMessage[] | undefined {
    const first = this.#messages[0];
    if (first === undefined || offset < first.offset - 1) return undefined;
    return this.#messages.slice(offset - first.offset + 1);
  }

  /** Offset of the oldest one that it holds. */
  get first(): number | undefined {
    return this.#messages[0]?.offset;
  }

  get(offset: number): BusMessage | undefined {
    const first = this.#messages[0];
    return first === undefined ? undefined : this.#messages[offset - first.offset];
  }

  clear(): void {
    this.#count(-this.#bytes);
    this.#messages = [];
  }

  /** Forgets everything up to an offset. */
  dropThrough(offset: number): void {
    while ((this.#messages[0]?.offset ?? Number.POSITIVE_INFINITY) <= offset) this.#shift();
  }

  #trim(): void {
    while (this.#messages.length > this.#maxMessages || this.#bytes > MAX_BYTES) this.#shift();
  }

  #shift(): void {
    this.#count(-(this.#messages.shift()?.body.length ?? 0));
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    this.#budget.usedBytes += bytes;
  }
}

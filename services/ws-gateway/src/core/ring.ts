import type { BusMessage } from '@muster/bus/envelope';

/** Bytes that all rings of a process may hold together. */
export interface RingBudget {
  readonly maxBytes: number;
  usedBytes: number;
}

/** Publications of one group that a ring may hold. */
const MAX_MESSAGES = 100;
/** Bytes of one group that a ring may hold. */
const MAX_BYTES = 65_536;

/** The newest publications of one group, without holes, so that a resume right after a drop asks nobody. */
export class Ring {
  readonly #budget: RingBudget;
  #messages: BusMessage[] = [];
  #bytes = 0;

  constructor(budget: RingBudget) {
    this.#budget = budget;
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
    while (this.#messages.length > MAX_MESSAGES || this.#bytes > MAX_BYTES) {
      this.#count(-(this.#messages.shift()?.body.length ?? 0));
    }
  }

  /** All publications after an offset; undefined when the ring does not reach back that far. */
  after(offset: number): readonly BusMessage[] | undefined {
    const first = this.#messages[0];
    if (first === undefined || offset < first.offset - 1) return undefined;
    return this.#messages.slice(offset - first.offset + 1);
  }

  get(offset: number): BusMessage | undefined {
    const first = this.#messages[0];
    return first === undefined ? undefined : this.#messages[offset - first.offset];
  }

  clear(): void {
    this.#count(-this.#bytes);
    this.#messages = [];
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    this.#budget.usedBytes += bytes;
  }
}

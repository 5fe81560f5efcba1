/** An object with one next deadline. */
export interface TimerEntry {
  /** Monotonic milliseconds. */
  dueAt: number;
  /** Set by the wheel: slot, and index in it; −1 outside of the wheel. */
  wheelSlot: number;
  wheelIndex: number;
  /** Called once when due; may put the entry again. */
  onDue(now: number): void;
}

/**
 * One timer for any number of deadlines: a ring of slots, one per tick. Put, move and remove take constant time. A deadline is met
 * up to one tick late, never early.
 */
export class TimerWheel {
  readonly #tickMs: number;
  readonly #slots: TimerEntry[][];
  #tick: number;

  constructor(options: { readonly tickMs: number; readonly slots: number; readonly now: number }) {
    this.#tickMs = options.tickMs;
    this.#slots = Array.from({ length: options.slots }, () => []);
    this.#tick = Math.floor(options.now / options.tickMs);
  }

  /** Sets or moves a deadline. */
  put(item: TimerEntry, dueAt: number): void {
    this.remove(item);
    item.dueAt = dueAt;
    const ahead = Math.ceil(dueAt / this.#tickMs) - this.#tick;
    // Beyond one revolution: put again when the ring reaches its slot.
    const slot = (this.#tick + Math.min(Math.max(ahead, 1), this.#slots.length - 1)) % this.#slots.length;
    const items = this.#slot(slot);
    item.wheelSlot = slot;
    item.wheelIndex = items.length;
    items.push(item);
  }

  remove(item: TimerEntry): void {
    if (item.wheelSlot < 0) return;
    const items = this.#slot(item.wheelSlot);
    const last = items.pop();
    if (last !== undefined && last !== item) {
      items[item.wheelIndex] = last;
      last.wheelIndex = item.wheelIndex;
    }
    item.wheelSlot = -1;
    item.wheelIndex = -1;
  }

  /** Calls the entries that are due. */
  advance(now: number): void {
    const target = Math.floor(now / this.#tickMs);
    // After a long pause (a suspended machine) one revolution reaches every slot.
    if (target - this.#tick > this.#slots.length) this.#tick = target - this.#slots.length;
    while (this.#tick < target) {
      this.#tick += 1;
      this.#turn(this.#tick % this.#slots.length, now);
    }
  }

  #turn(slot: number, now: number): void {
    const due = this.#slots[slot] ?? [];
    if (due.length === 0) return;
    this.#slots[slot] = [];
    // All are taken out first: a callback may remove or put others of this slot.
    for (const item of due) {
      item.wheelSlot = -1;
      item.wheelIndex = -1;
    }
    const ready: TimerEntry[] = [];
    for (const item of due) {
      if (item.dueAt > now) this.put(item, item.dueAt);
      else ready.push(item);
    }
    for (const item of ready) if (item.wheelSlot < 0) item.onDue(now);
  }

  #slot(index: number): TimerEntry[] {
    return this.#slots[index] ?? [];
  }
}

/** Lets work wait for the next tick of the engine without a timer of its own. */
export const createTicks = () => {
  let waiting: PromiseWithResolvers<void> | undefined;
  return {
    /** Resolves at the next tick. */
    next: (): Promise<void> => {
      waiting ??= Promise.withResolvers<void>();
      return waiting.promise;
    },
    tick: (): void => {
      waiting?.resolve();
      waiting = undefined;
    },
  };
};

export type Ticks = ReturnType<typeof createTicks>;

/** Something with one next deadline. The wheel owns the two bookkeeping fields. */
export interface TimerEntry {
  /** Monotonic milliseconds. */
  dueAt: number;
  /** Slot and place in the wheel; −1 outside. */
  wheelSlot: number;
  wheelPlace: number;
  /** Called once when due; may put itself back. */
  onDue(now: number): void;
}

/**
 * One timer for any number of deadlines: a ring of slots, one per tick. Putting, moving and removing cost the same
 * however many there are. A deadline is met up to one tick late, never early.
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
    // Further away than one turn: looked at again when the ring has come round.
    const slot = (this.#tick + Math.min(Math.max(ahead, 1), this.#slots.length - 1)) % this.#slots.length;
    const items = this.#slot(slot);
    item.wheelSlot = slot;
    item.wheelPlace = items.length;
    items.push(item);
  }

  remove(item: TimerEntry): void {
    if (item.wheelSlot < 0) return;
    const items = this.#slot(item.wheelSlot);
    const last = items.pop();
    if (last !== undefined && last !== item) {
      items[item.wheelPlace] = last;
      last.wheelPlace = item.wheelPlace;
    }
    item.wheelSlot = -1;
    item.wheelPlace = -1;
  }

  /** Calls whatever has become due. */
  advance(now: number): void {
    const target = Math.floor(now / this.#tickMs);
    // After a long pause (a suspended machine) one turn of the ring sees everything.
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
    // First take all out: what runs may remove or put others of this slot.
    for (const item of due) {
      item.wheelSlot = -1;
      item.wheelPlace = -1;
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

import {
  compareStreamIds,
  parsePayload,
  type SessionBusMessage,
  type SessionChange,
} from './session-events.ts';

/** The change stream as a follower reads it. */
export interface ChangeLog {
  /** The id of the last entry, `0-0` for an empty stream. */
  top(): Promise<string>;
  epoch(): Promise<string | undefined>;
  /** Entries from `from` on, itself included, oldest first, a bounded number. */
  range(from: string): Promise<{ id: string; payload: string }[]>;
  /** False if the stream may have been cut at its beginning. */
  isWhole(): Promise<boolean>;
}

/** Whom a follower tells. */
export interface FollowerEvents {
  onChange(change: SessionChange): void;
  onRepaired(): void;
  onLost(why: 'epoch' | 'trimmed' | 'backwards'): void;
  onFault(error: unknown): void;
}

const START = '0-0';

/**
 * Keeps the position in the change stream. Changes are applied the moment they are heard; a hole before one is
 * read from the stream, one read at a time, and holes seen meanwhile join it.
 */
export class ChangeLogFollower {
  readonly #log: ChangeLog;
  readonly #events: FollowerEvents;
  /** Undefined until the end of the stream was read once. */
  #last: string | undefined = undefined;
  #epoch: string | undefined = undefined;
  #running: Promise<void> | undefined = undefined;
  #again = false;

  constructor(log: ChangeLog, events: FollowerEvents) {
    this.#log = log;
    this.#events = events;
  }

  /** True when nothing is known to be missing. */
  get isCurrent(): boolean {
    return this.#last !== undefined && !this.#running;
  }

  /** Takes a message in; duplicates and messages out of order are harmless. */
  hear(message: SessionBusMessage): void {
    const { says } = message;
    if (says.is === 'change') this.#events.onChange(says.change);
    if (says.is === 'heartbeat' && this.#isOtherHistory(message.id, says.epoch)) return;
    if (this.#last !== undefined && compareStreamIds(message.id, this.#last) <= 0) return;
    if (message.previous === this.#last && !this.#running) this.#last = message.id;
    else void this.catchUp();
  }

  /** Reads what was missed; resolves when this reading, and those that joined it, are over. Never rejects. */
  catchUp(): Promise<void> {
    if (this.#running) this.#again = true;
    else this.#running = this.#run();
    return this.#running;
  }

  async #run(): Promise<void> {
    do {
      this.#again = false;
      try {
        await this.#readOnce();
      } catch (error) {
        this.#events.onFault(error);
      }
    } while (this.#again);
    this.#running = undefined;
  }

  /** Notices a flush or a failover by a heartbeat. */
  #isOtherHistory(id: string, epoch: string): boolean {
    this.#epoch ??= epoch;
    if (this.#epoch !== epoch) {
      void this.catchUp();
      return true;
    }
    if (this.#running || this.#last === undefined || compareStreamIds(id, this.#last) >= 0) return false;
    // The stream went back while its epoch stayed: a failover lost its end.
    this.#last = id;
    this.#events.onLost('backwards');
    return true;
  }

  async #readOnce(): Promise<void> {
    const from = this.#last;
    const epoch = await this.#log.epoch();
    const sameEpoch = this.#epoch === undefined || this.#epoch === epoch;
    if (from !== undefined && sameEpoch && (await this.#replay(from))) {
      this.#epoch = epoch;
      this.#events.onRepaired();
      return;
    }
    // Position first, then the alarm: whatever happens in between is heard, or checked, or both.
    this.#last = await this.#log.top();
    this.#epoch = epoch;
    if (from !== undefined) this.#events.onLost(sameEpoch ? 'trimmed' : 'epoch');
  }

  /** Applies what the stream holds after `from`; false if the stream no longer reaches back to it. */
  async #replay(from: string): Promise<boolean> {
    if (from === START && !(await this.#log.isWhole())) return false;
    let position = from;
    for (;;) {
      const entries = await this.#log.range(position);
      // The entry at `from` itself must still be there, else something after it may be gone too.
      if (position === from && from !== START && entries[0]?.id !== from) return false;
      const fresh = entries.filter(({ id }) => compareStreamIds(id, position) > 0);
      if (fresh.length === 0) return true;
      for (const entry of fresh) this.#apply(entry.payload);
      position = fresh.at(-1)?.id ?? position;
      this.#last = position;
    }
  }

  #apply(payload: string): void {
    const says = parsePayload(payload);
    if (says?.is === 'change') this.#events.onChange(says.change);
  }
}

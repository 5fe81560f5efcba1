import { compareStreamIds, parsePayload, type SessionBusMessage, type SessionChange } from './session-events.ts';

/** Change log as a follower reads it. */
export interface ChangeLog {
  /** Id of the last entry; `0-0` for an empty log. */
  top(): Promise<string>;
  epoch(): Promise<string | undefined>;
  /** A page of entries from `from` on, inclusive, oldest first. */
  range(from: string): Promise<{ id: string; payload: string }[]>;
  /** False if the oldest entries may have been trimmed. */
  isWhole(): Promise<boolean>;
}

/** Callbacks of a follower. */
export interface FollowerEvents {
  onChange(change: SessionChange): void;
  onRepaired(): void;
  onLost(why: 'epoch' | 'trimmed' | 'backwards'): void;
  onFault(error: unknown): void;
}

const START = '0-0';

/**
 * Follows the change log by the messages of the bus. Changes are applied on arrival, which is safe to repeat; a gap before
 * a message is read from the log, one read at a time.
 *
 *     opening ──repair──▶ repairing ──gap read, or lost──▶ following
 *                             ▲                               │
 *                             └── gap, new epoch, reconnect ──┘
 *
 * A failed read ends with `onFault` and leaves the position; the next heartbeat shows the gap again.
 */
export class ChangeLogFollower {
  readonly #log: ChangeLog;
  readonly #events: FollowerEvents;
  /** Undefined until the end of the log was read once. */
  #last: string | undefined = undefined;
  #epoch: string | undefined = undefined;
  #repairing: Promise<void> | undefined = undefined;
  #mustRepeat = false;

  constructor(log: ChangeLog, events: FollowerEvents) {
    this.#log = log;
    this.#events = events;
  }

  /** True while following: no gap is known. */
  get isCurrent(): boolean {
    return this.#last !== undefined && !this.#repairing;
  }

  /** Accepts duplicates and messages out of order. */
  onMessage(message: SessionBusMessage): void {
    const { content } = message;
    if (content.is === 'change') this.#events.onChange(content.change);
    if (content.is === 'heartbeat' && this.#isOtherHistory(message.id, content.epoch)) return;
    if (this.#last !== undefined && compareStreamIds(message.id, this.#last) <= 0) return;
    if (message.previous === this.#last && !this.#repairing) this.#last = message.id;
    else void this.repair();
  }

  /** Reads the gap; resolves when this read, and those requested meanwhile, have ended. Never rejects. */
  repair(): Promise<void> {
    if (this.#repairing) this.#mustRepeat = true;
    else this.#repairing = this.#run();
    return this.#repairing;
  }

  async #run(): Promise<void> {
    do {
      this.#mustRepeat = false;
      try {
        await this.#readOnce();
      } catch (error) {
        this.#events.onFault(error);
      }
    } while (this.#mustRepeat);
    this.#repairing = undefined;
  }

  /** Detects a flush or a failover by the epoch and id of a heartbeat. */
  #isOtherHistory(id: string, epoch: string): boolean {
    this.#epoch ??= epoch;
    if (this.#epoch !== epoch) {
      void this.repair();
      return true;
    }
    if (this.#repairing || this.#last === undefined || compareStreamIds(id, this.#last) >= 0) return false;
    // The log is shorter under the same epoch: a failover lost its end.
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
    // The position is set before the callback: changes in between are received, or checked, or both.
    this.#last = await this.#log.top();
    this.#epoch = epoch;
    if (from !== undefined) this.#events.onLost(sameEpoch ? 'trimmed' : 'epoch');
  }

  /** Applies the entries after `from`; false if the log no longer contains it. */
  async #replay(from: string): Promise<boolean> {
    if (from === START && !(await this.#log.isWhole())) return false;
    let position = from;
    for (;;) {
      const entries = await this.#log.range(position);
      // Without the entry at `from`, entries after it may be trimmed as well.
      if (position === from && from !== START && entries[0]?.id !== from) return false;
      const fresh = entries.filter(({ id }) => compareStreamIds(id, position) > 0);
      if (fresh.length === 0) return true;
      for (const entry of fresh) this.#apply(entry.payload);
      position = fresh.at(-1)?.id ?? position;
      this.#last = position;
    }
  }

  #apply(payload: string): void {
    const content = parsePayload(payload);
    if (content?.is === 'change') this.#events.onChange(content.change);
  }
}

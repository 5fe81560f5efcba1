import { MAX_MESSAGES_PER_FRAME } from '@muster/protocol/limits';
import type { Codec, EncodedMessage } from './codec.ts';
import type { Wire } from './ports.ts';

/** Hears of a connection that does not read fast enough. */
export interface SlowHandler {
  onSlow(): void;
}

/** Bytes above the bound that answers and pings may take, so that a client full of publications still gets them. */
const RESERVE_BYTES = 65_536;

/** The one way to a socket: keeps the order of everything written, and the bound on what waits. */
export class Outbox {
  readonly #wire: Wire;
  readonly #maxBytes: number;
  readonly #owner: SlowHandler;
  readonly #codec: Codec;
  #pending: EncodedMessage[] | undefined = undefined;

  constructor(wire: Wire, codec: Codec, maxBytes: number, owner: SlowHandler) {
    this.#wire = wire;
    this.#codec = codec;
    this.#maxBytes = maxBytes;
    this.#owner = owner;
  }

  /** A message for this connection alone. Those of one turn travel in one frame. */
  post(message: EncodedMessage): void {
    if (this.#pending !== undefined) {
      this.#pending.push(message);
      return;
    }
    this.#pending = [message];
    queueMicrotask(() => this.flush());
  }

  /** Bytes that wait for the client. */
  get waitingBytes(): number {
    return this.#wire.bufferedBytes;
  }

  /** Bytes that may wait for it. */
  get maxBytes(): number {
    return this.#maxBytes;
  }

  /**
   * A finished frame of a group, shared with many others; goes after everything posted before. False, and nothing is
   * written, when more would wait than may: the caller decides what that means.
   */
  offer(frame: Buffer): boolean {
    if (this.#pending !== undefined) this.flush();
    if (this.#wire.bufferedBytes + frame.length > this.#maxBytes) return false;
    this.#wire.write(frame);
    return true;
  }

  /** A finished frame for this connection alone; goes after everything posted before. */
  write(frame: Buffer): void {
    if (this.#pending !== undefined) this.flush();
    if (this.#wire.bufferedBytes + frame.length > this.#maxBytes + RESERVE_BYTES) this.#owner.onSlow();
    else this.#wire.write(frame);
  }

  /** Writes what was posted in this turn. */
  flush(): void {
    const messages = this.#pending;
    if (messages === undefined) return;
    this.#pending = undefined;
    for (let from = 0; from < messages.length; from += MAX_MESSAGES_PER_FRAME) {
      this.write(this.#codec.frame(messages.slice(from, from + MAX_MESSAGES_PER_FRAME)));
    }
  }
}

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
  /** Frames of groups that wait for {@link release}. */
  #held: Buffer[] | undefined = undefined;
  #heldBytes = 0;

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
    // After everything that this turn of the event loop has read: a publication that comes with it goes in the same write.
    setImmediate(flush, this);
  }

  /** Bytes that wait for the client. */
  get waitingBytes(): number {
    return this.#wire.bufferedBytes + this.#heldBytes;
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
    if (this.#held !== undefined) return this.#keep(frame, this.#held);
    if (this.#pending !== undefined) return this.#offerBehind(frame);
    if (this.#wire.bufferedBytes + frame.length > this.#maxBytes) return false;
    this.#wire.write(frame);
    return true;
  }

  /** Keeps frames of groups back: an answer that takes its time is to come before them. */
  hold(): void {
    this.#held ??= [];
  }

  /** Writes what was posted, then what was kept back. */
  release(): void {
    this.flush();
    const held = this.#held ?? [];
    this.#held = undefined;
    this.#heldBytes = 0;
    for (const frame of held) this.#wire.write(frame);
  }

  #keep(frame: Buffer, held: Buffer[]): boolean {
    if (this.waitingBytes + frame.length > this.#maxBytes) return false;
    held.push(frame);
    this.#heldBytes += frame.length;
    return true;
  }

  /** One write for what was posted and a frame of a group: a write costs more than a small copy. */
  #offerBehind(frame: Buffer): boolean {
    const posted = frame.length > MAX_JOINED_BYTES ? undefined : this.#takePosted();
    if (posted === undefined) {
      this.flush();
      return this.offer(frame);
    }
    const both = Buffer.concat([posted, frame], posted.length + frame.length);
    if (this.#wire.bufferedBytes + both.length <= this.#maxBytes) {
      this.#wire.write(both);
      return true;
    }
    this.write(posted);
    return false;
  }

  /** A finished frame for this connection alone; goes after everything posted before. */
  write(frame: Buffer): void {
    if (this.#pending !== undefined) this.flush();
    if (this.#wire.bufferedBytes + frame.length > this.#maxBytes + RESERVE_BYTES) this.#owner.onSlow();
    else this.#wire.write(frame);
  }

  /** Writes what was posted in this turn. */
  flush(): void {
    const posted = this.#takePosted();
    if (posted !== undefined) this.write(posted);
  }

  /** Finished frames of what was posted; undefined when there is nothing. */
  #takePosted(): Buffer | undefined {
    const messages = this.#pending;
    if (messages === undefined) return undefined;
    this.#pending = undefined;
    if (messages.length <= MAX_MESSAGES_PER_FRAME) return this.#codec.frame(messages);
    const frames: Buffer[] = [];
    for (let from = 0; from < messages.length; from += MAX_MESSAGES_PER_FRAME) {
      frames.push(this.#codec.frame(messages.slice(from, from + MAX_MESSAGES_PER_FRAME)));
    }
    return Buffer.concat(frames);
  }
}

/** One function for all outboxes: nothing is made per turn and connection. */
const flush = (outbox: Outbox): void => outbox.flush();

/** A longer frame is not copied to go with another one. */
const MAX_JOINED_BYTES = 16_384;

import { MAX_MESSAGES_PER_FRAME } from '@muster/protocol/limits';
import type { Wire } from '../ports.ts';
import type { Codec, EncodedMessage } from './codec.ts';
import type { Ticks } from './timer-wheel.ts';

/** The connection of an outbox. */
export interface SendBufferOwner {
  readonly isClosed: boolean;
  /** It does not read fast enough. */
  onSlow(): void;
}

/** Bytes above the bound that answers and pings may take, so that a client full of publications still gets them. */
const RESERVE_BYTES = 65_536;

/** An answer of this size never waits: the reserve is for such. */
const SMALL_BYTES = 256;

/**
 * The one way to a socket: keeps the order of everything written, and the bound on what waits. A socket for which nothing
 * waits takes one message of any size: a client that reads everything is never slow.
 */
export class SendBuffer {
  readonly #wire: Wire;
  readonly #maxBytes: number;
  readonly #owner: SendBufferOwner;
  readonly #codec: Codec;
  readonly #ticks: Ticks;
  #pending: EncodedMessage[] | undefined = undefined;
  #postedBytes = 0;
  /** Frames of groups that wait for {@link release}. */
  #held: Buffer[] | undefined = undefined;
  #heldBytes = 0;
  /** Size of the large message that was written when nothing waited; it does not count against what comes behind it. */
  #largeBytes = 0;
  /** Settles when the last large answer that is being made has been written; undefined when there is none. */
  #answering: Promise<void> | undefined = undefined;

  constructor(wire: Wire, codec: Codec, maxBytes: number, owner: SendBufferOwner, ticks: Ticks) {
    this.#wire = wire;
    this.#codec = codec;
    this.#maxBytes = maxBytes;
    this.#owner = owner;
    this.#ticks = ticks;
  }

  /** A message for this connection alone. Those of one turn travel in one frame. */
  post(message: EncodedMessage): void {
    this.#postedBytes += message.length;
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
    if (!this.#accepts(frame.length, 0)) return false;
    this.#wire.write(frame);
    return true;
  }

  /** Whether an answer of this size can be written now without anything that the client could be blamed for. */
  hasRoom(bytes: number): boolean {
    if (bytes <= SMALL_BYTES || this.#owner.isClosed || this.#fits(bytes)) return true;
    this.flush();
    return this.#fits(bytes);
  }

  #fits(bytes: number): boolean {
    const waiting = this.#wire.bufferedBytes + this.#postedBytes;
    // Some clients get texts as strings, which escapes may make twice as long.
    return waiting === 0 || waiting + 2 * bytes <= this.#maxBytes;
  }

  /** Resolves when the client has read so much that there is room for an answer of this size, or when it is gone. */
  async room(bytes: number): Promise<void> {
    while (!this.hasRoom(bytes)) await this.#ticks.next();
  }

  /**
   * Makes a large answer when the ones before it are written and the client has read most of them: however many are asked
   * for at once, no more than one of them waits.
   */
  inTurn(make: () => Promise<void>): Promise<void> {
    const before = this.#answering;
    const own =
      before === undefined && this.hasRoom(this.#maxBytes / 4) ? make() : this.#afterwards(before, make);
    const settled = own.then(ignore, ignore).then(() => {
      if (this.#answering === settled) this.#answering = undefined;
    });
    this.#answering = settled;
    return own;
  }

  async #afterwards(before: Promise<void> | undefined, make: () => Promise<void>): Promise<void> {
    await before;
    await this.room(this.#maxBytes / 4);
    if (!this.#owner.isClosed) await make();
  }

  /** Whether the bound lets so many bytes be written now. */
  #accepts(bytes: number, reserve: number): boolean {
    const waiting = this.#wire.bufferedBytes;
    if (waiting > 0) return waiting + bytes <= this.#maxBytes + this.#largeBytes + reserve;
    this.#largeBytes = bytes > RESERVE_BYTES ? bytes : 0;
    return true;
  }

  /** Whether frames of groups are kept back. */
  get isHolding(): boolean {
    return this.#held !== undefined;
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
    // The client could not read any of it before: it does not count against what comes behind it.
    this.#largeBytes += this.#heldBytes;
    this.#heldBytes = 0;
    for (const frame of held) this.#wire.write(frame);
  }

  #keep(frame: Buffer, held: Buffer[]): boolean {
    if (this.#heldBytes > 0 && this.waitingBytes + frame.length > this.#maxBytes) return false;
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
    if (this.#accepts(both.length, 0)) {
      this.#wire.write(both);
      return true;
    }
    this.write(posted);
    return false;
  }

  /** A finished frame for this connection alone; goes after everything posted before. */
  write(frame: Buffer): void {
    if (this.#pending !== undefined) this.flush();
    if (this.#accepts(frame.length, RESERVE_BYTES)) this.#wire.write(frame);
    else this.#owner.onSlow();
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
    this.#postedBytes = 0;
    if (messages.length <= MAX_MESSAGES_PER_FRAME) return this.#codec.frame(messages);
    const frames: Buffer[] = [];
    for (let from = 0; from < messages.length; from += MAX_MESSAGES_PER_FRAME) {
      frames.push(this.#codec.frame(messages.slice(from, from + MAX_MESSAGES_PER_FRAME)));
    }
    return Buffer.concat(frames);
  }
}

const ignore = (): void => {};

/** One function for all outboxes: nothing is made per turn and connection. */
const flush = (outbox: SendBuffer): void => outbox.flush();

/** A longer frame is not copied to go with another one. */
const MAX_JOINED_BYTES = 16_384;

import { flushAtEndOfTurn } from '@muster/kit/end-of-turn';
import { MAX_MESSAGES_PER_FRAME } from '@muster/protocol/limits';
import type { Wire } from '../ports.ts';
import type { Codec, EncodedMessage } from './codec.ts';
import type { Ticks } from './timer-wheel.ts';

/** The connection of a send buffer. */
export interface SendBufferOwner {
  readonly isClosed: boolean;
  /** Called when a frame does not fit. */
  onSlow(): void;
}

/** Bytes above the limit for replies and pings: a client with a buffer full of publications still receives them. */
const RESERVE_BYTES = 65_536;

/** Replies up to this size never wait; the reserve covers them. */
const SMALL_BYTES = 256;

/**
 * The only writer of a socket: orders all frames and limits the pending bytes. With nothing pending, one message of any size is
 * written: a client that reads everything is never slow.
 */
export class SendBuffer {
  readonly #wire: Wire;
  /** Limit of the pending bytes. */
  readonly maxBytes: number;
  readonly #owner: SendBufferOwner;
  readonly #codec: Codec;
  readonly #ticks: Ticks;
  #pending: EncodedMessage[] | undefined = undefined;
  #postedBytes = 0;
  /** Commands for which posted messages wait. */
  #commands = 0;
  /** Group frames held back until {@link release}. */
  #held: Buffer[] | undefined = undefined;
  #heldBytes = 0;
  /** Size of a large message written with nothing pending; it does not count against the frames behind it. */
  #largeBytes = 0;
  /** Settles when the last large reply in progress is written; undefined without one. */
  #replying: Promise<void> | undefined = undefined;

  constructor(wire: Wire, codec: Codec, maxBytes: number, owner: SendBufferOwner, ticks: Ticks) {
    this.#wire = wire;
    this.#codec = codec;
    this.maxBytes = maxBytes;
    this.#owner = owner;
    this.#ticks = ticks;
  }

  /** Posts a message for this connection only. The messages of one turn share a frame. */
  post(message: EncodedMessage): void {
    this.#postedBytes += message.length;
    if (this.#pending !== undefined) {
      this.#pending.push(message);
      return;
    }
    this.#pending = [message];
    if (this.#commands === 0) flushAtEndOfTurn('replies', this);
    else void this.#ticks.next().then(() => this.flush());
  }

  /** A command that shares its write with other commands of its frame has started. Replies wait for it, until the next tick at most. */
  startCommand(): void {
    this.#commands += 1;
  }

  endCommand(): void {
    this.#commands -= 1;
    if (this.#commands === 0 && this.#pending !== undefined) flushAtEndOfTurn('replies', this);
  }

  /** True while posted messages wait for a command. */
  get awaitsCommands(): boolean {
    return this.#commands > 0;
  }

  /** Pending bytes. */
  get waitingBytes(): number {
    return this.#wire.bufferedBytes + this.#heldBytes;
  }

  /**
   * Writes an encoded frame of a group, which many connections share, behind the posted messages. False, without a write, above the
   * limit: the caller decides on the consequence.
   */
  offer(frame: Buffer): boolean {
    if (this.#held !== undefined) return this.#holdFrame(frame, this.#held);
    if (this.#pending !== undefined) return this.#offerBehind(frame);
    if (!this.#accepts(frame.length, 0)) return false;
    this.#wire.write(frame);
    return true;
  }

  /** True when a reply of this size can be written without making the client slow. */
  hasRoom(bytes: number): boolean {
    if (bytes <= SMALL_BYTES || this.#owner.isClosed || this.#fits(bytes)) return true;
    this.flush();
    return this.#fits(bytes);
  }

  #fits(bytes: number): boolean {
    const waiting = this.#wire.bufferedBytes + this.#postedBytes;
    // Payloads encoded as JSON strings may double in size by escapes.
    return waiting === 0 || waiting + 2 * bytes <= this.maxBytes;
  }

  /** Resolves when the client has read enough for a reply of this size, or is closed. */
  async room(bytes: number): Promise<void> {
    while (!this.hasRoom(bytes)) await this.#ticks.next();
  }

  /**
   * Serializes large replies: `make` starts when the previous replies are written and mostly read. At most one of them
   * is pending.
   */
  inTurn(make: () => Promise<void>): Promise<void> {
    const before = this.#replying;
    const own = before === undefined && this.hasRoom(this.maxBytes / 4) ? make() : this.#afterwards(before, make);
    const settled = own.then(ignore, ignore).then(() => {
      if (this.#replying === settled) this.#replying = undefined;
    });
    this.#replying = settled;
    return own;
  }

  async #afterwards(before: Promise<void> | undefined, make: () => Promise<void>): Promise<void> {
    await before;
    await this.room(this.maxBytes / 4);
    if (!this.#owner.isClosed) await make();
  }

  /** True when so many bytes may be written now. */
  #accepts(bytes: number, reserve: number): boolean {
    const waiting = this.#wire.bufferedBytes;
    if (waiting > 0) return waiting + bytes <= this.maxBytes + this.#largeBytes + reserve;
    this.#largeBytes = bytes > RESERVE_BYTES ? bytes : 0;
    return true;
  }

  /** True while group frames are held back. */
  get isHolding(): boolean {
    return this.#held !== undefined;
  }

  /** Holds group frames back until a slow reply is written. */
  hold(): void {
    this.#held ??= [];
  }

  /** Ends {@link hold}. Held frames are written behind the posted messages. */
  release(): void {
    const held = this.#held;
    this.#held = undefined;
    if (held === undefined || held.length === 0) return;
    this.flush();
    // The client could not read them earlier: they do not count against the frames behind them.
    this.#largeBytes += this.#heldBytes;
    this.#heldBytes = 0;
    for (const frame of held) this.#wire.write(frame);
  }

  #holdFrame(frame: Buffer, held: Buffer[]): boolean {
    if (this.#heldBytes > 0 && this.waitingBytes + frame.length > this.maxBytes) return false;
    held.push(frame);
    this.#heldBytes += frame.length;
    return true;
  }

  /** Writes posted messages and a group frame at once: a write costs more than a small copy. */
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

  /** Writes an encoded frame for this connection only, behind the posted messages. */
  write(frame: Buffer): void {
    if (this.#pending !== undefined) this.flush();
    if (this.#accepts(frame.length, RESERVE_BYTES)) this.#wire.write(frame);
    else this.#owner.onSlow();
  }

  /** Writes the posted messages. */
  flush(): void {
    const posted = this.#takePosted();
    if (posted !== undefined) this.write(posted);
  }

  /** Encodes the posted messages; undefined for none. */
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

/** Longest frame that is copied behind posted messages. */
const MAX_JOINED_BYTES = 16_384;

/*
 * Subset of the Protocol Buffers wire format: varints and length-delimited fields. Other wire types are skipped.
 */

/** Invalid message, or a number beyond the safe integers. */
export class MalformedMessage extends Error {}

const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder('utf-8', { fatal: true });
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

/** Fields of a message by number; the last value of a repeated scalar field counts, as proto3 requires. */
export class Fields {
  readonly #values = new Map<number, (number | Uint8Array)[]>();

  constructor(bytes: Uint8Array) {
    const reader = new Reader(bytes);
    while (!reader.isAtEnd) {
      const tag = reader.varint();
      const field = Math.floor(tag / 8);
      const type = tag % 8;
      if (type === VARINT) this.#add(field, reader.varint());
      else if (type === BYTES) this.#add(field, reader.bytes());
      else if (type === FIXED64) reader.skip(8);
      else if (type === FIXED32) reader.skip(4);
      else throw new MalformedMessage();
    }
  }

  has(field: number): boolean {
    return this.#values.has(field);
  }

  number(field: number): number {
    const value = this.#values.get(field)?.at(-1) ?? 0;
    if (typeof value !== 'number') throw new MalformedMessage();
    return value;
  }

  /** Integer from 0 to `max`. */
  unsigned(field: number, max: number): number {
    const value = this.number(field);
    if (value < 0 || value > max) throw new MalformedMessage();
    return value;
  }

  flag(field: number): boolean {
    return this.number(field) !== 0;
  }

  bytes(field: number): Uint8Array | undefined {
    const value = this.#values.get(field)?.at(-1);
    if (typeof value === 'number') throw new MalformedMessage();
    return value;
  }

  text(field: number): string {
    const value = this.bytes(field);
    return value === undefined ? '' : decodeText(value);
  }

  message(field: number): Fields | undefined {
    const value = this.bytes(field);
    return value === undefined ? undefined : new Fields(value);
  }

  /** All texts of a repeated field. */
  texts(field: number): string[] {
    return (this.#values.get(field) ?? []).map((value) => {
      if (typeof value === 'number') throw new MalformedMessage();
      return decodeText(value);
    });
  }

  /** All messages of a repeated field. */
  messages(field: number): Fields[] {
    return (this.#values.get(field) ?? []).map((value) => {
      if (typeof value === 'number') throw new MalformedMessage();
      return new Fields(value);
    });
  }

  #add(field: number, value: number | Uint8Array): void {
    const known = this.#values.get(field);
    if (known === undefined) this.#values.set(field, [value]);
    else known.push(value);
  }
}

/** Throws {@link MalformedMessage} for bytes that are not UTF-8. */
export const decodeText = (bytes: Uint8Array): string => {
  try {
    return fromUtf8.decode(bytes);
  } catch {
    throw new MalformedMessage();
  }
};

/** Splits a frame into its length-delimited messages. */
export const splitMessages = (frame: Uint8Array): Uint8Array[] => {
  const reader = new Reader(frame);
  const messages: Uint8Array[] = [];
  while (!reader.isAtEnd) messages.push(reader.bytes());
  return messages;
};

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  /** Signed integer; malformed beyond the safe integers. */
  varint(): number {
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw new MalformedMessage();
      const part = byte & 0x7f;
      if (shift < 28) low |= part << shift;
      else if (shift === 28) {
        low |= part << 28;
        high |= part >> 4;
      } else high |= part << (shift - 32);
      if (byte < 0x80) {
        const value = (high | 0) * 2 ** 32 + (low >>> 0);
        if (!Number.isSafeInteger(value)) throw new MalformedMessage();
        return value;
      }
    }
    throw new MalformedMessage();
  }

  bytes(): Uint8Array {
    const size = this.varint();
    const from = this.#at;
    this.skip(size);
    return this.#bytes.subarray(from, this.#at);
  }

  skip(count: number): void {
    if (count < 0 || this.#at + count > this.#bytes.length) throw new MalformedMessage();
    this.#at += count;
  }
}

/** Writes the fields of one message in the order of the calls. Zero values are omitted, as in proto3. */
export class MessageWriter {
  readonly #parts: Uint8Array[] = [];
  #size = 0;

  number(field: number, value: number | undefined): this {
    if (value) this.#push(varint(field * 8 + VARINT), varint(value));
    return this;
  }

  flag(field: number, value: boolean | undefined): this {
    return this.number(field, value ? 1 : 0);
  }

  text(field: number, value: string | undefined): this {
    return value ? this.bytes(field, utf8.encode(value)) : this;
  }

  bytes(field: number, value: Uint8Array | undefined): this {
    if (value !== undefined) this.#push(varint(field * 8 + BYTES), varint(value.length), value);
    return this;
  }

  /** Nested message; written even when empty, because its presence has a meaning. */
  message(field: number, value: MessageWriter | undefined): this {
    return this.bytes(field, value?.finish());
  }

  finish(): Uint8Array {
    return joinBytes(this.#parts, this.#size);
  }

  /** Message with its length before it, as in a frame. */
  delimited(): Uint8Array {
    const length = varint(this.#size);
    return joinBytes([length, ...this.#parts], length.length + this.#size);
  }

  #push(...parts: readonly Uint8Array[]): void {
    for (const part of parts) {
      this.#parts.push(part);
      this.#size += part.length;
    }
  }
}

const varint = (value: number): Uint8Array => {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 0x7f) {
    bytes.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  bytes.push(rest);
  return new Uint8Array(bytes);
};

const joinBytes = (parts: readonly Uint8Array[], size: number): Uint8Array => {
  const joined = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
};

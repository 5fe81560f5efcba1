/*
 * Deltas in the format of the Fossil version control system: `<size>\n`, then pieces, then `<checksum>;`. A piece is
 * `<count>@<offset>,` (copy from the base) or `<count>:<bytes>` (insert). Numbers are in base 64 with the digits below.
 */

const DIGITS = new TextEncoder().encode('0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~');
const NEWLINE = 0x0a;
const COMMA = 0x2c;
const COLON = 0x3a;
const SEMICOLON = 0x3b;
const AT = 0x40;
/** Bytes that are looked up together. */
const BLOCK = 16;
/** Fewer bytes are not worth a piece of their own. */
const MIN_COPY = 8;

/**
 * The delta that makes `target` of `base`; undefined when it would not be shorter than the target. Where the target is
 * UTF-8 no piece begins or ends within a character, so the delta is UTF-8 too. Time and memory grow with the sizes, no faster.
 */
export const encodeDelta = (base: Uint8Array, target: Uint8Array): Uint8Array | undefined => {
  const patch = new Patch(target);
  patch.number(target.length, NEWLINE);
  const head = sharedHead(base, target);
  const tail = sharedTail(base, target, head);
  const end = target.length - tail;
  if (head > 0) patch.copy(0, head);
  encodeMiddle(patch, { base, target, from: head, end });
  if (tail > 0) patch.copy(base.length - tail, tail);
  patch.number(checksum(target), SEMICOLON);
  return patch.finish();
};

/** Writes pieces, and gives up when they grow as long as the target. */
class Patch {
  readonly #target: Uint8Array;
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(target: Uint8Array) {
    this.#target = target;
    this.#bytes = new Uint8Array(target.length);
  }

  get isTooLong(): boolean {
    return this.#at >= this.#bytes.length;
  }

  number(value: number, after: number): void {
    let shift = 0;
    while (shift < 30 && value >>> (shift + 6) !== 0) shift += 6;
    for (; shift >= 0; shift -= 6) this.#byte(DIGITS[(value >>> shift) & 63] ?? 0);
    this.#byte(after);
  }

  copy(offset: number, count: number): void {
    this.number(count, AT);
    this.number(offset, COMMA);
  }

  insert(from: number, to: number): void {
    if (to <= from) return;
    this.number(to - from, COLON);
    if (this.#at + to - from < this.#bytes.length) this.#bytes.set(this.#target.subarray(from, to), this.#at);
    this.#at += to - from;
  }

  finish(): Uint8Array | undefined {
    return this.isTooLong ? undefined : this.#bytes.subarray(0, this.#at);
  }

  #byte(value: number): void {
    if (this.#at < this.#bytes.length) this.#bytes[this.#at] = value;
    this.#at += 1;
  }
}

interface Middle {
  readonly base: Uint8Array;
  readonly target: Uint8Array;
  readonly from: number;
  readonly end: number;
}

/** Finds what the part between the shared ends takes from anywhere in the base, block by block. */
const encodeMiddle = (patch: Patch, { base, target, from, end }: Middle): void => {
  let inserted = from;
  if (end - from >= BLOCK && base.length >= BLOCK) {
    const blocks = indexBlocks(base);
    const window = new Window(target, from);
    let at = from;
    while (at + BLOCK <= end && !patch.isTooLong) {
      const place = blocks.get(window.hash);
      const found = place === undefined ? undefined : matchAround({ base, target, at, place, inserted, end });
      if (found === undefined) {
        window.roll();
        at += 1;
        continue;
      }
      patch.insert(inserted, found.from);
      patch.copy(found.offset, found.to - found.from);
      inserted = found.to;
      at = found.to;
      window.jump(at);
    }
  }
  patch.insert(inserted, end);
};

/** Where in the base each block begins; of equal ones the first. */
const indexBlocks = (base: Uint8Array): ReadonlyMap<number, number> => {
  const blocks = new Map<number, number>();
  const window = new Window(base, 0);
  for (let at = 0; at + BLOCK <= base.length; at += BLOCK) {
    window.jump(at);
    if (!blocks.has(window.hash)) blocks.set(window.hash, at);
  }
  return blocks;
};

/** A sum over one block that can be moved on by a byte at little cost. */
class Window {
  readonly #bytes: Uint8Array;
  #at = 0;
  #sum = 0;
  #weighted = 0;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.jump(at);
  }

  get hash(): number {
    return (this.#sum & 0xffff) | (this.#weighted << 16);
  }

  jump(at: number): void {
    this.#at = at;
    this.#sum = 0;
    this.#weighted = 0;
    for (let index = 0; index < BLOCK; index++) {
      const byte = this.#bytes[at + index] ?? 0;
      this.#sum += byte;
      this.#weighted += (BLOCK - index) * byte;
    }
  }

  roll(): void {
    const gone = this.#bytes[this.#at] ?? 0;
    const come = this.#bytes[this.#at + BLOCK] ?? 0;
    this.#sum += come - gone;
    this.#weighted += this.#sum - BLOCK * gone;
    this.#at += 1;
  }
}

/** What target and base share around a place where a block may be the same, cut between characters; undefined if too little. */
const matchAround = (place: {
  readonly base: Uint8Array;
  readonly target: Uint8Array;
  readonly at: number;
  readonly place: number;
  /** Before this the target is written already. */
  readonly inserted: number;
  readonly end: number;
}): { readonly from: number; readonly to: number; readonly offset: number } | undefined => {
  const { base, target, at, inserted, end } = place;
  const shift = place.place - at;
  let to = at;
  while (to < end && to + shift < base.length && target[to] === base[to + shift]) to += 1;
  if (to - at < BLOCK) return undefined;
  let from = at;
  while (from > inserted && from + shift > 0 && target[from - 1] === base[from + shift - 1]) from -= 1;
  while (from < to && isWithinCharacter(target, from)) from += 1;
  while (to > from && isWithinCharacter(target, to)) to -= 1;
  return to - from < MIN_COPY ? undefined : { from, to, offset: from + shift };
};

const sharedHead = (base: Uint8Array, target: Uint8Array): number => {
  const most = Math.min(base.length, target.length);
  let count = 0;
  while (count < most && base[count] === target[count]) count += 1;
  while (count > 0 && isWithinCharacter(target, count)) count -= 1;
  return count < MIN_COPY ? 0 : count;
};

const sharedTail = (base: Uint8Array, target: Uint8Array, head: number): number => {
  const most = Math.min(base.length, target.length) - head;
  let count = 0;
  while (count < most && base[base.length - 1 - count] === target[target.length - 1 - count]) count += 1;
  while (count > 0 && isWithinCharacter(target, target.length - count)) count -= 1;
  return count < MIN_COPY ? 0 : count;
};

/** Whether a cut before this byte would tear a character of UTF-8 apart. */
const isWithinCharacter = (bytes: Uint8Array, at: number): boolean => ((bytes[at] ?? 0) & 0xc0) === 0x80;

/** The sum of the bytes as big-endian words of 32 bits, the last one filled up with zeros. */
const checksum = (bytes: Uint8Array): number => {
  let sum = 0;
  for (let at = 0; at < bytes.length; at++) sum = (sum + ((bytes[at] ?? 0) << (24 - 8 * (at & 3)))) | 0;
  return sum >>> 0;
};

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
/** Block length of the index, in bytes. */
const BLOCK = 16;
/** Shorter matches are inserted, not copied. */
const MIN_COPY = 8;

/**
 * Delta from `base` to `target`; undefined when it is not shorter than the target. For a UTF-8 target no piece splits a
 * character, so the delta is UTF-8, too. Time and memory are linear in both sizes.
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

/** Writes pieces into a buffer of the target's size; {@link Patch.isTooLong} once it is full. */
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

/** Encodes the part between the shared prefix and suffix: looks up each block in the base. */
const encodeMiddle = (patch: Patch, { base, target, from, end }: Middle): void => {
  let inserted = from;
  if (end - from >= BLOCK && base.length >= BLOCK) {
    const blocks = indexBlocks(base);
    const window = new Window(target, from);
    let at = from;
    while (at + BLOCK <= end && !patch.isTooLong) {
      const block = blocks.get(window.hash);
      const found = block === undefined ? undefined : matchAround({ base, target, at, block, inserted, end });
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

/** Hash → offset of the first block of the base with that hash. */
const indexBlocks = (base: Uint8Array): ReadonlyMap<number, number> => {
  const blocks = new Map<number, number>();
  const window = new Window(base, 0);
  for (let at = 0; at + BLOCK <= base.length; at += BLOCK) {
    window.jump(at);
    if (!blocks.has(window.hash)) blocks.set(window.hash, at);
  }
  return blocks;
};

/** Rolling hash of one block. */
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
    const removed = this.#bytes[this.#at] ?? 0;
    const added = this.#bytes[this.#at + BLOCK] ?? 0;
    this.#sum += added - removed;
    this.#weighted += this.#sum - BLOCK * removed;
    this.#at += 1;
  }
}

/** Longest match around a block with an equal hash, without splitting characters; undefined below {@link MIN_COPY}. */
const matchAround = (candidate: {
  readonly base: Uint8Array;
  readonly target: Uint8Array;
  readonly at: number;
  readonly block: number;
  /** End of the part of the target that is already written. */
  readonly inserted: number;
  readonly end: number;
}): { readonly from: number; readonly to: number; readonly offset: number } | undefined => {
  const { base, target, at, block, inserted, end } = candidate;
  const shift = block - at;
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

/** True for continuation bytes of UTF-8. */
const isWithinCharacter = (bytes: Uint8Array, at: number): boolean => ((bytes[at] ?? 0) & 0xc0) === 0x80;

/** Sum of big-endian 32-bit words, the last word padded with zeros. */
const checksum = (bytes: Uint8Array): number => {
  let sum = 0;
  for (let at = 0; at < bytes.length; at++) sum = (sum + ((bytes[at] ?? 0) << (24 - 8 * (at & 3)))) | 0;
  return sum >>> 0;
};

import { crc32 } from 'node:zlib';
import type { BusMessage } from '@muster/bus/envelope';
import type { GroupKey } from '@muster/bus/group-key';
import type { GroupPosition } from '@muster/bus/position';
import { messageOfEntry, type StreamEntry } from '@muster/bus/publication-encoding';
import type { StreamPage, StreamRetention, Streams } from '@muster/bus/streams';
import type { Clock } from '@muster/kit/clock';
import { MAX_RECOVERED_PUBLICATIONS } from '@muster/protocol/limits';
import { MessageQueue } from './message-queue.ts';
import { RecentPublications, type RecentPublicationsBudget } from './recent-publications.ts';

/** What became of a difference between what was heard and what is kept. */
export type GapOutcome = 'repaired' | 'lost';

export interface StreamFollowerDeps {
  readonly streams: Pick<Streams, 'top' | 'read' | 'disown'>;
  readonly budget: RecentPublicationsBudget;
  /** Bytes of publications that are read at once. */
  readonly maxReadBytes: number;
  readonly clock: Pick<Clock, 'monotonic'>;
  /** Resolves when the members can take the next page of a repair. */
  pace(group: GroupKey): Promise<void>;
  /** The next publication, exactly once and in order. */
  deliver(group: GroupKey, message: BusMessage): void;
  /** Publications are gone for good: whoever relies on positions must be told. */
  resync(group: GroupKey): void;
  onGap(outcome: GapOutcome): void;
  /** A repair that could not be made now. */
  onFault(error: unknown): void;
  /** The stream could not be read: nothing is delivered until {@link StreamFollower.repair} succeeds. */
  onStalled(): void;
}

/** Publications read at once when catching up. */
const PAGE = 500;
/** A publication may arrive so long after it was appended: until then before its end, what was heard is known to be kept. */
const ARRIVAL_SLACK_MS = 5_000;
/** Above every offset: this epoch is not to be trusted, however far it has come. */
const ANY_OFFSET = Number.MAX_SAFE_INTEGER;

/** A place, and what was delivered there; no mark when that was never seen here. */
interface Witness extends GroupPosition {
  readonly mark: number | undefined;
}

/**
 * Follows the stream of one group. What the bus brings is compared with the position reached so far: the next offset is
 * delivered, a hole is read from the stream once for all members, and what cannot be had any more is announced.
 */
export class StreamFollower {
  readonly #ring: RecentPublications;
  readonly #group: GroupKey;
  #retention: StreamRetention;
  readonly #deps: StreamFollowerDeps;
  #position: GroupPosition = { offset: 0, epoch: '' };
  /** Of the publication at the position, where the ring does not hold it. */
  #mark: number | undefined;
  /** Where we were when the link was lost: the store may have lost that since, and others written over it. */
  #doubt: Witness | undefined;
  /** When the store was asked to keep the stream, in monotonic ms. */
  #keptAt = Number.NEGATIVE_INFINITY;
  #state: 'opening' | 'following' | 'repairing' | 'stalled' = 'opening';
  readonly #queue: MessageQueue;
  #repair: Promise<void> | undefined;
  readonly #reads = new Map<number, Promise<StreamPage>>();
  /** Monotonic time until which the stream is known to be kept, and with it what the ring holds. */
  #keptUntil = Number.NEGATIVE_INFINITY;
  /** Up to here everything was removed from the stream. */
  #removed: GroupPosition = { offset: 0, epoch: '' };

  constructor(group: GroupKey, retention: StreamRetention, deps: StreamFollowerDeps) {
    this.#group = group;
    this.#retention = retention;
    this.#deps = deps;
    this.#ring = new RecentPublications(deps.budget, retention.size);
    this.#queue = new MessageQueue(deps.maxReadBytes);
  }

  /** What the options of the group say now. */
  retain(retention: StreamRetention): void {
    const { size, ttlMs } = this.#retention;
    this.#retention = retention;
    if (retention.size !== size) this.#ring.resize(retention.size);
    if (retention.ttlMs !== ttlMs) this.#keptUntil = Number.NEGATIVE_INFINITY;
  }

  /** Up to here everything was delivered. */
  get position(): GroupPosition {
    return this.#position;
  }

  /** Offset up to which everything was removed from the stream; 0 for nothing. */
  get removedThrough(): number {
    return this.#removed.epoch === this.#position.epoch ? this.#removed.offset : 0;
  }

  /** All publications after an offset, from memory; undefined when that does not hold them or they may not be kept any more. */
  recentAfter(offset: number): readonly BusMessage[] | undefined {
    return this.#isRingKept() ? this.#ring.after(offset) : undefined;
  }

  /** The newest publication, from memory. */
  get newest(): BusMessage | undefined {
    return this.#isRingKept() ? this.#ring.get(this.#position.offset) : undefined;
  }

  /** Bytes of messages that wait while the stream is read. */
  get queuedBytes(): number {
    return this.#queue.bytes;
  }

  /** False while publications may be missing. */
  get isCurrent(): boolean {
    return this.#state === 'following';
  }

  /** True after the stream could not be read. */
  get isStalled(): boolean {
    return this.#state === 'stalled';
  }

  /** To be called once the bus delivers the group. */
  async open(): Promise<void> {
    const { top, entries } = await this.readLast();
    const [last] = entries;
    this.#position = top;
    this.#mark = last?.offset === top.offset ? this.#markOf(last, top.epoch) : undefined;
    this.#resume();
  }

  close(): void {
    this.#ring.clear();
    this.#queue.take();
  }

  onMessage(message: BusMessage): void {
    if (message.kind === 'clear') this.forget(message);
    else if (this.#state === 'following') this.#follow(message);
    else this.#queue.add(message);
  }

  /** Everything up to a position was removed from the stream: it is not given to anybody from memory either. */
  forget({ offset, epoch }: GroupPosition): void {
    if (offset <= (this.#removed.epoch === epoch ? this.#removed.offset : 0)) return;
    this.#removed = { offset, epoch };
    if (this.#position.epoch !== '' && epoch !== this.#position.epoch) return;
    this.#mark ??= this.#witness().mark;
    this.#ring.dropThrough(offset);
  }

  /** Compares with the end of the stream as it was read a moment ago. */
  isBehind(top: GroupPosition | undefined): boolean {
    if (this.#state === 'stalled') return true;
    if (this.#state !== 'following') return false;
    return top === undefined || top.epoch !== this.#position.epoch || top.offset !== this.#position.offset;
  }

  /** How much longer the stream is to live now that somebody is in the group; 0 while that was said a short time ago. */
  keepMs(now: number): number {
    const { metaTtlMs } = this.#retention;
    if (now - this.#keptAt < metaTtlMs / 4) return 0;
    this.#keptAt = now;
    return metaTtlMs;
  }

  /** The link is lost: what is delivered next may follow something else than what was delivered last. */
  suspect(): void {
    this.#doubt ??= this.#witness();
    // That publications were removed may be among what is not heard now.
    this.#forgetRecent();
  }

  /** The store was there all the time, and has forgotten nothing. */
  trust(): void {
    this.#doubt = undefined;
  }

  get isDoubtful(): boolean {
    return this.#doubt !== undefined;
  }

  /** Compares what was delivered before the link was lost with what the store has there now. Rejects when it cannot be read. */
  async verify(): Promise<void> {
    const doubt = this.#doubt;
    if (doubt === undefined || this.#state !== 'following') return;
    if (doubt.mark !== undefined) {
      const from = doubt.offset - 1;
      const page = await this.#deps.streams.read(this.#group, { from, limit: 1, retention: this.#retention });
      if (this.#contradicts(page, doubt)) {
        this.#repair ??= this.#disown();
        await this.#repair;
      }
    }
    if (this.#doubt === doubt) this.#doubt = undefined;
  }

  /** Reads what is missing. Rejects when the stream cannot be read now; {@link repair} must then be called again. */
  repair(): Promise<void> {
    this.#repair ??= this.#catchUp();
    return this.#repair;
  }

  /** As much as one answer may hold of what is kept after an offset; calls for the same offset share one reading. */
  readAfter(offset: number): Promise<StreamPage> {
    const known = this.#reads.get(offset);
    if (known !== undefined) return known;
    const { streams, clock, maxReadBytes: maxBytes } = this.#deps;
    const sentAt = clock.monotonic();
    const query = { from: offset, limit: MAX_RECOVERED_PUBLICATIONS, maxBytes, retention: this.#retention };
    const reading = streams
      .read(this.#group, query)
      .then((page) => this.#remember(page, sentAt))
      .finally(() => this.#reads.delete(offset));
    this.#reads.set(offset, reading);
    return reading;
  }

  /** What was read for one member is at hand for the next: after a drop they all come for much the same. */
  #remember(read: StreamPage, sentAt: number): StreamPage {
    const { offset, epoch } = this.#position;
    if (this.#state !== 'following' || read.top.epoch !== epoch) return read;
    // Removed since it was read.
    const page = { ...read, entries: read.entries.filter((entry) => entry.offset > this.removedThrough) };
    if (!this.#isRingKept()) this.#forgetRecent();
    this.#keptUntil = Math.max(this.#keptUntil, sentAt + page.lastsMs);
    const first = this.#ring.first ?? offset + 1;
    const older = page.entries.filter((entry) => entry.offset < first);
    this.#ring.backfill(
      older.map((entry) => messageOfEntry(this.#group, entry, epoch)),
      offset + 1,
    );
    return page;
  }

  async readLast(): Promise<StreamPage> {
    return this.#deps.streams.read(this.#group, { limit: 1, reverse: true, retention: this.#retention });
  }

  #isRingKept(): boolean {
    return this.#deps.clock.monotonic() < this.#keptUntil;
  }

  /** What was heard may not be kept any more; what was delivered last is remembered. */
  #forgetRecent(): void {
    this.#mark ??= this.#witness().mark;
    this.#ring.clear();
  }

  #repairInBackground(): void {
    this.repair().catch(this.#deps.onFault);
  }

  #follow(message: BusMessage): void {
    const { offset, epoch } = this.#position;
    if (message.epoch === epoch && message.offset === offset + 1) this.#advanceLive(message);
    else if (message.epoch === epoch && message.offset <= offset) this.#onOld(message);
    else {
      this.#queue.add(message);
      this.#repairInBackground();
    }
  }

  /** What was just appended is kept from now on, and so is what is before it if it was kept until now. */
  #advanceLive(message: BusMessage): void {
    const now = this.#deps.clock.monotonic();
    if (now >= this.#keptUntil) this.#ring.clear();
    const { ttlMs } = this.#retention;
    this.#keptUntil = Math.max(this.#keptUntil, now + Math.min(ttlMs / 2, ttlMs - ARRIVAL_SLACK_MS));
    this.#advance(message);
  }

  #advance(message: BusMessage): void {
    // The bytes are a view into what the connection received; the ring must not keep all of that alive.
    const own = { ...message, body: Buffer.from(message.body) };
    this.#position = { offset: message.offset, epoch: message.epoch };
    this.#ring.push(own);
    this.#mark = this.#ring.get(message.offset) === undefined ? crc32(own.body) : undefined;
    this.#deps.deliver(this.#group, own);
  }

  /** An offset heard before: the same publication again is harmless, another one means that the store went back. */
  #onOld(message: BusMessage): void {
    const known = this.#ring.get(message.offset);
    if (known?.body.equals(message.body)) return;
    if (known !== undefined) this.#repair ??= this.#disown();
    this.#repairInBackground();
  }

  async #disown(): Promise<void> {
    this.#state = 'repairing';
    const { epoch } = this.#position;
    try {
      const seen = { offset: ANY_OFFSET, epoch };
      this.#lose(await this.#deps.streams.disown(this.#group, seen, this.#retention));
      this.#resume();
    } catch (error) {
      this.#stall();
      throw error;
    }
  }

  async #catchUp(): Promise<void> {
    if (this.#state === 'opening') return;
    this.#state = 'repairing';
    try {
      while (await this.#readOn()) await this.#deps.pace(this.#group);
    } catch (error) {
      this.#stall();
      throw error;
    }
    this.#resume();
  }

  /** Delivers one page. True when there is more. */
  async #readOn(): Promise<boolean> {
    const witness = this.#witness();
    const { offset, epoch } = witness;
    const { streams, maxReadBytes: maxBytes } = this.#deps;
    // With the one before: only then is it sure that the next ones follow what was delivered.
    const from = witness.mark === undefined ? offset : offset - 1;
    const page = await streams.read(this.#group, { from, limit: PAGE, maxBytes, retention: this.#retention });
    if (page.top.epoch !== epoch) this.#lose(page.top);
    else if (page.top.offset < offset) {
      this.#lose(await streams.disown(this.#group, this.#position, this.#retention));
    } else if (this.#contradicts(page, witness)) {
      this.#lose(await streams.disown(this.#group, { offset: ANY_OFFSET, epoch }, this.#retention));
    } else return this.#takeOver(page);
    return false;
  }

  /** Delivers what follows. True when the store has more than it gave. */
  #takeOver({ top, entries }: StreamPage): boolean {
    const before = this.#position.offset;
    for (const entry of entries) {
      if (entry.offset <= before) continue;
      if (entry.offset !== this.#position.offset + 1) break;
      this.#advance(messageOfEntry(this.#group, entry, top.epoch));
    }
    const isWhole = this.#position.offset === entries.at(-1)?.offset;
    const hasMore = isWhole && this.#position.offset < top.offset;
    if (hasMore && this.#position.offset > before) return true;
    if (this.#position.offset < top.offset) this.#lose(top);
    else if (this.#position.offset > before) this.#deps.onGap('repaired');
    return false;
  }

  /** The present position and what was delivered there. */
  #witness(): Witness {
    const { offset, epoch } = this.#position;
    const known = offset === 0 ? undefined : this.#ring.get(offset);
    return { offset, epoch, mark: known === undefined ? this.#mark : crc32(known.body) };
  }

  #markOf(entry: StreamEntry, epoch: string): number {
    return crc32(messageOfEntry(this.#group, entry, epoch).body);
  }

  /** True when another publication stands where ours stood. Where nothing stands any more, nothing is said. */
  #contradicts({ top, entries }: StreamPage, { offset, epoch, mark }: Witness): boolean {
    const entry = entries[0];
    if (mark === undefined || top.epoch !== epoch || entry?.offset !== offset) return false;
    return this.#markOf(entry, epoch) !== mark;
  }

  #stall(): void {
    this.#state = 'stalled';
    this.#repair = undefined;
    this.#deps.onStalled();
  }

  #lose(top: GroupPosition): void {
    this.#position = top;
    this.#mark = undefined;
    this.#doubt = undefined;
    this.#ring.clear();
    this.#deps.onGap('lost');
    this.#deps.resync(this.#group);
  }

  /** Goes on with what came in meanwhile; what the reading has covered already is left out. */
  #resume(): void {
    // Over before the queue is looked at: what is in it may ask for another repair.
    this.#repair = undefined;
    this.#state = 'following';
    const { messages, isCut } = this.#queue.take();
    for (const message of messages) {
      const isCovered = message.epoch === this.#position.epoch && message.offset <= this.#position.offset;
      if (!isCovered) this.onMessage(message);
    }
    if (isCut) this.#repairInBackground();
  }
}

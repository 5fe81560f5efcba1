import { crc32 } from 'node:zlib';
import type { BusMessage } from '@muster/bus/envelope';
import type { GroupKey } from '@muster/bus/group-key';
import type { GroupPosition } from '@muster/bus/position';
import { messageOfEntry, type StreamEntry } from '@muster/bus/publication-encoding';
import type { StreamPage, StreamQuery, StreamRetention, Streams } from '@muster/bus/streams';
import type { Clock } from '@muster/kit/clock';
import { MAX_RECOVERED_PUBLICATIONS } from '@muster/protocol/limits';
import { MessageQueue } from './follower-queue.ts';
import { RecentPublications, type RecentPublicationsBudget } from './recent-publications.ts';

/** Outcome of a difference between the delivered position and the stream. */
export type GapOutcome = 'repaired' | 'lost';

/** The group that a follower delivers to. */
export interface FollowedGroup {
  readonly key: GroupKey;
  /** Receives every publication exactly once, in order of its offset. */
  deliver(message: BusMessage): void;
  /** Called when publications are lost: subscriptions that rely on positions must end. */
  resync(): void;
  /** Resolves when the members can receive the next page of a repair. */
  pace(): Promise<void>;
}

/** Dependencies that the followers of a gateway share. */
export interface StreamFollowerDeps {
  readonly streams: Pick<Streams, 'newest' | 'read' | 'invalidateEpoch'>;
  readonly budget: RecentPublicationsBudget;
  /** Bytes of publications in one read. */
  readonly maxReadBytes: number;
  readonly clock: Pick<Clock, 'monotonic'>;
  onGap(outcome: GapOutcome): void;
  /** Called when a repair in the background fails; {@link onStalled} follows up. */
  onFault(error: unknown): void;
  /** Called when the stream could not be read: nothing is delivered until {@link StreamFollower.repair} succeeds. */
  onStalled(): void;
}

/** Publications in one page of a repair. */
const PAGE = 500;
/** Above every offset: invalidates an epoch at any position. */
const ANY_OFFSET = Number.MAX_SAFE_INTEGER;

/** The last delivered publication: its position and checksum; undefined where it was not received here. */
interface LastDelivered extends GroupPosition {
  readonly checksum: number | undefined;
}

/**
 * Follows the stream of one group: delivers the next offset, reads a gap from the stream once for all members, and reports lost
 * publications. Messages that arrive outside `following` are queued and replayed on entering it.
 *
 *     ┌─────────┐ open() reads the end    ┌───────────┐ next offset: deliver
 *     │ opening │ ──────────────────────► │ following │ known offset, same publication: ignore
 *     └─────────┘                         └───────────┘
 *                                            │     ▲ read to the end of the stream, or loss reported: resync()
 *     gap, other epoch, other publication    ▼     │
 *     at a known offset, queue overflow,  ┌───────────┐ read failed: onStalled()  ┌─────────┐
 *     or repair() by the position check   │ repairing │ ────────────────────────► │ stalled │
 *                                         └───────────┘ ◄──────────────────────── └─────────┘
 *                                                        repair() by its retry
 *
 * A lost link does not change the state: {@link markUnverified} stores the last delivered publication, {@link markVerified}
 * drops it, and {@link verify} compares it with the stream. A different publication at its offset means that the store lost
 * data (failover): the epoch is invalidated, and the members resync.
 */
export class StreamFollower {
  readonly #recent: RecentPublications;
  readonly #group: FollowedGroup;
  #retention: StreamRetention;
  readonly #deps: StreamFollowerDeps;
  #position: GroupPosition = { offset: 0, epoch: '' };
  /** Checksum of the publication at the position, if the recent publications do not include it. */
  #checksum: number | undefined;
  /** Last delivered publication when the link was lost; the store may have lost and overwritten it since. */
  #unverifiedSince: LastDelivered | undefined;
  /** Monotonic time of the last extension of the stream's TTL. */
  #extendedAt = Number.NEGATIVE_INFINITY;
  #state: 'opening' | 'following' | 'repairing' | 'stalled' = 'opening';
  readonly #queue: MessageQueue;
  #repair: Promise<void> | undefined;
  readonly #reads = new Map<number, Promise<StreamPage>>();
  /** Position up to which everything was removed from the stream. */
  #removed: GroupPosition = { offset: 0, epoch: '' };

  constructor(group: FollowedGroup, retention: StreamRetention, deps: StreamFollowerDeps) {
    this.#group = group;
    this.#retention = retention;
    this.#deps = deps;
    this.#recent = new RecentPublications(deps.budget, deps.clock, retention.size);
    this.#queue = new MessageQueue(deps.maxReadBytes);
  }

  /** Applies the present retention of the group's options. */
  retain(retention: StreamRetention): void {
    const { size, ttlMs } = this.#retention;
    this.#retention = retention;
    if (retention.size !== size) this.#recent.resize(retention.size);
    if (retention.ttlMs !== ttlMs) this.#recent.expire();
  }

  /** Position of the last delivered publication. */
  get position(): GroupPosition {
    return this.#position;
  }

  /** Offset up to which everything was removed from the stream; 0: nothing was. */
  get removedThrough(): number {
    return this.#removed.epoch === this.#position.epoch ? this.#removed.offset : 0;
  }

  /** All publications after an offset, from memory; undefined when memory lacks some, or their retention may have ended. */
  recentAfter(offset: number): readonly BusMessage[] | undefined {
    return this.#recent.isRetained ? this.#recent.after(offset) : undefined;
  }

  /** The newest publication, from memory; see {@link recentAfter}. */
  get newest(): BusMessage | undefined {
    return this.#recent.isRetained ? this.#recent.get(this.#position.offset) : undefined;
  }

  /** Bytes of the messages queued during a read. */
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

  /** Reads the end of the stream. To be called once, after the bus delivers the group. */
  async open(): Promise<void> {
    const { top, entries } = await this.readNewest();
    const [last] = entries;
    this.#position = top;
    this.#checksum = last?.offset === top.offset ? this.#checksumOf(last, top.epoch) : undefined;
    this.#resume();
  }

  close(): void {
    this.#recent.clear();
    this.#queue.take();
  }

  /** Processes a message with an offset from the bus. */
  receive(message: BusMessage): void {
    if (message.kind === 'clear') this.dropThrough(message);
    else if (this.#state === 'following') this.#follow(message);
    else this.#queue.add(message);
  }

  /** Drops recent publications up to a position: they were removed from the stream. */
  dropThrough({ offset, epoch }: GroupPosition): void {
    if (offset <= (this.#removed.epoch === epoch ? this.#removed.offset : 0)) return;
    this.#removed = { offset, epoch };
    if (this.#position.epoch !== '' && epoch !== this.#position.epoch) return;
    this.#checksum ??= this.#lastDelivered().checksum;
    this.#recent.dropThrough(offset);
  }

  /** True when the group needs a repair, given the end of the stream; undefined: the stream is gone. */
  isBehind(top: GroupPosition | undefined): boolean {
    if (this.#state === 'stalled') return true;
    if (this.#state !== 'following') return false;
    return top === undefined || top.epoch !== this.#position.epoch || top.offset !== this.#position.offset;
  }

  /** TTL in ms to set on the stream while the group has members; 0: extended recently. */
  extensionMs(now: number): number {
    const { metaTtlMs } = this.#retention;
    if (now - this.#extendedAt < metaTtlMs / 4) return 0;
    this.#extendedAt = now;
    return metaTtlMs;
  }

  /** The link is lost: the next message may not follow the last delivered one. */
  markUnverified(): void {
    this.#unverifiedSince ??= this.#lastDelivered();
    // A removal of publications may be among the missed messages.
    this.#clearRecent();
  }

  /** The link is restored, and the store has lost nothing. */
  markVerified(): void {
    this.#unverifiedSince = undefined;
  }

  get isUnverified(): boolean {
    return this.#unverifiedSince !== undefined;
  }

  /** Compares the publication delivered before the link was lost with the stream. Rejects when the stream cannot be read. */
  async verify(): Promise<void> {
    const unverified = this.#unverifiedSince;
    if (unverified === undefined || this.#state !== 'following') return;
    if (unverified.checksum !== undefined) {
      const page = await this.#read({ from: unverified.offset - 1, limit: 1 });
      if (this.#contradicts(page, unverified)) {
        this.#repair ??= this.#restart();
        await this.#repair;
      }
    }
    if (this.#unverifiedSince === unverified) this.#unverifiedSince = undefined;
  }

  /** Reads and delivers missing publications. Rejects when the stream cannot be read; the follower is then stalled. */
  repair(): Promise<void> {
    this.#repair ??= this.#catchUp();
    return this.#repair;
  }

  /** Reads the stream after an offset, at most one reply's worth; concurrent calls for one offset share the read. */
  readAfter(offset: number): Promise<StreamPage> {
    const known = this.#reads.get(offset);
    if (known !== undefined) return known;
    const { clock, maxReadBytes: maxBytes } = this.#deps;
    const sentAt = clock.monotonic();
    const reading = this.#read({ from: offset, limit: MAX_RECOVERED_PUBLICATIONS, maxBytes })
      .then((page) => this.#addRecent(page, sentAt))
      .finally(() => this.#reads.delete(offset));
    this.#reads.set(offset, reading);
    return reading;
  }

  /** Adds a read page to the recent publications: after a disconnect most clients recover from nearby offsets. */
  #addRecent(read: StreamPage, sentAt: number): StreamPage {
    const { offset, epoch } = this.#position;
    if (this.#state !== 'following' || read.top.epoch !== epoch) return read;
    // Entries may have been removed since the read.
    const page = { ...read, entries: read.entries.filter((entry) => entry.offset > this.removedThrough) };
    if (!this.#recent.isRetained) this.#clearRecent();
    this.#recent.retainUntil(sentAt + page.remainingMs);
    const first = this.#recent.first ?? offset + 1;
    const older = page.entries.filter((entry) => entry.offset < first);
    this.#recent.backfill(
      older.map((entry) => messageOfEntry(this.#group.key, entry, epoch)),
      offset + 1,
    );
    return page;
  }

  /** Reads the newest publication. */
  readNewest(): Promise<StreamPage> {
    return this.#deps.streams.newest(this.#group.key, this.#retention);
  }

  #read(query: Omit<StreamQuery, 'retention'>): Promise<StreamPage> {
    return this.#deps.streams.read(this.#group.key, { ...query, retention: this.#retention });
  }

  /** Clears the recent publications and retains the checksum of the last delivered one. */
  #clearRecent(): void {
    this.#checksum ??= this.#lastDelivered().checksum;
    this.#recent.clear();
  }

  #repairInBackground(): void {
    this.repair().catch(this.#deps.onFault);
  }

  #follow(message: BusMessage): void {
    const { offset, epoch } = this.#position;
    if (message.epoch === epoch && message.offset === offset + 1) {
      this.#recent.onAppended(this.#retention.ttlMs);
      this.#advance(message);
    } else if (message.epoch === epoch && message.offset <= offset) this.#onKnown(message);
    else {
      this.#queue.add(message);
      this.#repairInBackground();
    }
  }

  #advance(message: BusMessage): void {
    // The body is a view into a receive buffer, which a reference would keep alive.
    const own = { ...message, body: Buffer.from(message.body) };
    this.#position = { offset: message.offset, epoch: message.epoch };
    this.#recent.push(own);
    this.#checksum = this.#recent.get(message.offset) === undefined ? crc32(own.body) : undefined;
    this.#group.deliver(own);
  }

  /** A known offset: a duplicate is ignored; a different publication means that the store lost data. */
  #onKnown(message: BusMessage): void {
    const known = this.#recent.get(message.offset);
    if (known?.body.equals(message.body)) return;
    if (known !== undefined) this.#repair ??= this.#restart();
    this.#repairInBackground();
  }

  /** Invalidates the epoch at any offset: the store lost data. */
  async #restart(): Promise<void> {
    this.#state = 'repairing';
    try {
      await this.#invalidateEpoch(ANY_OFFSET);
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
      while (await this.#readPage()) await this.#group.pace();
    } catch (error) {
      this.#stall();
      throw error;
    }
    this.#resume();
  }

  /** Reads and delivers one page. True when more follows. */
  async #readPage(): Promise<boolean> {
    const last = this.#lastDelivered();
    // Includes the last delivered publication: its checksum proves that the following publications are its successors.
    const from = last.checksum === undefined ? last.offset : last.offset - 1;
    const page = await this.#read({ from, limit: PAGE, maxBytes: this.#deps.maxReadBytes });
    if (page.top.epoch !== last.epoch) this.#lose(page.top);
    else if (page.top.offset < last.offset) await this.#invalidateEpoch(last.offset);
    else if (this.#contradicts(page, last)) await this.#invalidateEpoch(ANY_OFFSET);
    else return this.#deliverPage(page);
    return false;
  }

  /** Delivers the entries of a page. True when the stream has more. */
  #deliverPage({ top, entries }: StreamPage): boolean {
    const before = this.#position.offset;
    for (const entry of entries) {
      if (entry.offset <= before) continue;
      if (entry.offset !== this.#position.offset + 1) break;
      this.#advance(messageOfEntry(this.#group.key, entry, top.epoch));
    }
    const isWhole = this.#position.offset === entries.at(-1)?.offset;
    const hasMore = isWhole && this.#position.offset < top.offset;
    if (hasMore && this.#position.offset > before) return true;
    if (this.#position.offset < top.offset) this.#lose(top);
    else if (this.#position.offset > before) this.#deps.onGap('repaired');
    return false;
  }

  #lastDelivered(): LastDelivered {
    const { offset, epoch } = this.#position;
    const known = offset === 0 ? undefined : this.#recent.get(offset);
    return { offset, epoch, checksum: known === undefined ? this.#checksum : crc32(known.body) };
  }

  #checksumOf(entry: StreamEntry, epoch: string): number {
    return crc32(messageOfEntry(this.#group.key, entry, epoch).body);
  }

  /** True when the stream has a different publication at this position. False when it has none there. */
  #contradicts({ top, entries }: StreamPage, { offset, epoch, checksum }: LastDelivered): boolean {
    const entry = entries[0];
    if (checksum === undefined || top.epoch !== epoch || entry?.offset !== offset) return false;
    return this.#checksumOf(entry, epoch) !== checksum;
  }

  #stall(): void {
    this.#state = 'stalled';
    this.#repair = undefined;
    this.#deps.onStalled();
  }

  /** Replaces the stream's epoch unless it has advanced beyond `offset`, and continues at the end of the new epoch. */
  async #invalidateEpoch(offset: number): Promise<void> {
    const { epoch } = this.#position;
    this.#lose(await this.#deps.streams.invalidateEpoch(this.#group.key, { offset, epoch }, this.#retention));
  }

  #lose(top: GroupPosition): void {
    this.#position = top;
    this.#checksum = undefined;
    this.#unverifiedSince = undefined;
    this.#recent.clear();
    this.#deps.onGap('lost');
    this.#group.resync();
  }

  /** Enters `following` and replays the queue, without the messages that the read has covered. */
  #resume(): void {
    // Before the replay: a queued message may start another repair.
    this.#repair = undefined;
    this.#state = 'following';
    const { messages, isCut } = this.#queue.take();
    for (const message of messages) {
      const isCovered = message.epoch === this.#position.epoch && message.offset <= this.#position.offset;
      if (!isCovered) this.receive(message);
    }
    if (isCut) this.#repairInBackground();
  }
}

/** A message of the protocol in JSON: a command, a reply or a push. Only the members that matter here. */
export interface WireMessage {
  readonly id?: number;
  readonly error?: unknown;
  readonly connect?: ConnectBody;
  readonly subscribe?: SubscribeBody;
  readonly unsubscribe?: { readonly channel: string };
  readonly refresh?: { readonly token?: string };
  readonly sub_refresh?: { readonly channel: string; readonly token?: string };
  readonly push?: WirePush;
}

/** Members of a `connect` command and of its result. */
interface ConnectBody {
  token?: string;
  readonly client?: string;
  readonly data?: unknown;
  readonly pong?: boolean;
  readonly subs?: Readonly<Record<string, SubscribeBody>>;
}

/** Members of a `subscribe` command and of its result. */
export interface SubscribeBody {
  readonly channel?: string;
  token?: string;
  readonly recover?: boolean;
  readonly flag?: number;
  readonly id?: number;
  readonly offset?: number;
  readonly epoch?: string;
  readonly recoverable?: boolean;
  readonly recovered?: boolean;
  readonly delta?: unknown;
  readonly publications?: readonly WirePublication[];
}

interface WirePublication {
  readonly offset?: number;
  readonly epoch?: string;
}

interface WirePush {
  readonly channel?: string;
  /** Number of the group, with channel compaction. */
  readonly id?: number;
  readonly pub?: WirePublication;
  readonly subscribe?: SubscribeBody;
  readonly unsubscribe?: object;
  readonly disconnect?: { readonly code: number };
}

/** A subscription with the position up to which the SDK has received its publications. */
interface TrackedGroup {
  /** The command that opened it; undefined for a server-side subscription. */
  readonly command: SubscribeBody | undefined;
  readonly compactId: number | undefined;
  readonly isRecoverable: boolean;
  readonly hasDeltas: boolean;
  offset: number;
  epoch: string;
  /** Publications up to this offset were received before a move; the next gateway may send them again. */
  receivedBefore: number;
}

/** Bit of `flag` for numbers in place of group names; the numbers of another connection differ. */
const COMPACTION_FLAG = 1;

/**
 * The state of a connection as its messages show it: what another connection needs to continue it, and what it may drop because the
 * SDK has it already.
 */
export class WireState {
  /** Commands without a reply yet. */
  readonly #pending = new Map<number, WireMessage>();
  readonly #groups = new Map<string, TrackedGroup>();
  #connect: ConnectBody = {};
  /** True when pings are answered with `{}`. */
  pongs = false;

  get hasPending(): boolean {
    return this.#pending.size > 0;
  }

  /** Records a command of the SDK. */
  sent(command: WireMessage): void {
    if (command.id !== undefined) this.#pending.set(command.id, command);
  }

  /** Records a message for the SDK. False for a publication that it has received already. */
  received(message: WireMessage): boolean {
    if (message.push !== undefined) return this.#pushed(message.push);
    const command = message.id === undefined ? undefined : this.#pending.get(message.id);
    if (command === undefined) return true;
    this.#pending.delete(message.id as number);
    if (message.error === undefined) this.#replied(command, message);
    return true;
  }

  /** The commands that continue this connection on another, with ids from 1; the first is `connect`. */
  resume(): { readonly commands: readonly WireMessage[]; readonly groups: readonly string[] } {
    const [serverSide, clientSide] = [true, false].map((isServerSide) =>
      [...this.#groups].filter(([, { command }]) => (command === undefined) === isServerSide),
    ) as [[string, TrackedGroup][], [string, TrackedGroup][]];
    const { subs: _, ...connect } = this.#connect;
    const subs = Object.fromEntries(
      serverSide.filter(([, group]) => group.isRecoverable).map(([name, group]) => [name, positionOf(group)]),
    );
    const subscribes = clientSide.map(([, group], index): WireMessage => {
      const { recover: _, offset: _offset, epoch: _epoch, flag = 0, ...command } = group.command ?? {};
      return { id: index + 2, subscribe: { ...command, flag: flag & ~COMPACTION_FLAG, ...positionOf(group) } };
    });
    const groups = [...clientSide, ...serverSide].map(([name]) => name);
    return { commands: [{ id: 1, connect: { ...connect, subs } }, ...subscribes], groups };
  }

  /**
   * Continues on another connection after its replies to {@link resume}. Returns the missed publications as pushes, or undefined when
   * the replies do not continue this state: a group was refused, added or removed, or its publications are not complete.
   */
  adopt(
    { commands, groups }: ReturnType<WireState['resume']>,
    replies: ReadonlyMap<number, WireMessage>,
  ): WireMessage[] | undefined {
    const connected = replies.get(1)?.connect;
    if (connected === undefined || groups.length !== this.#groups.size) return undefined;
    const results = new Map<string, SubscribeBody>(Object.entries(connected.subs ?? {}));
    for (const { id = 0, subscribe } of commands.slice(1)) {
      const result = replies.get(id)?.subscribe;
      if (result !== undefined) results.set(subscribe?.channel ?? '', result);
    }
    const isComplete = groups.every((name) => {
      const [group, result] = [this.#groups.get(name), results.get(name)];
      return group !== undefined && result !== undefined && continues(group, result);
    });
    if (!isComplete || results.size !== groups.length) return undefined;
    this.pongs = connected.pong === true;
    for (const [name, group] of this.#groups) {
      group.receivedBefore = group.offset;
      group.epoch = results.get(name)?.epoch ?? group.epoch;
    }
    return [...results].flatMap(([channel, { publications = [] }]) =>
      publications.map((pub): WireMessage => ({ push: { channel, pub } })),
    );
  }

  #replied(command: WireMessage, reply: WireMessage): void {
    if (command.connect !== undefined) {
      this.#connect = { ...command.connect };
      this.pongs = reply.connect?.pong === true;
      for (const [channel, result] of Object.entries(reply.connect?.subs ?? {}))
        this.#track(channel, undefined, result);
    } else if (command.subscribe?.channel !== undefined) {
      this.#track(command.subscribe.channel, command.subscribe, reply.subscribe ?? {});
    } else if (command.unsubscribe !== undefined) this.#groups.delete(command.unsubscribe.channel);
    else if (command.refresh?.token !== undefined) this.#connect.token = command.refresh.token;
    else if (command.sub_refresh?.token !== undefined) {
      const group = this.#groups.get(command.sub_refresh.channel);
      if (group?.command !== undefined) group.command.token = command.sub_refresh.token;
    }
  }

  #track(channel: string, command: SubscribeBody | undefined, result: SubscribeBody): void {
    const last = result.publications?.at(-1);
    this.#groups.set(channel, {
      command: command && { ...command },
      compactId: result.id,
      isRecoverable: result.recoverable === true,
      hasDeltas: result.delta === true,
      offset: Math.max(result.offset ?? 0, last?.offset ?? 0),
      epoch: last?.epoch ?? result.epoch ?? '',
      receivedBefore: 0,
    });
  }

  #pushed({ channel = '', id, pub, subscribe, unsubscribe }: WirePush): boolean {
    if (subscribe !== undefined) this.#track(channel, undefined, subscribe);
    else if (unsubscribe !== undefined) this.#groups.delete(channel);
    if (pub?.offset === undefined) return true;
    const group = id === undefined ? this.#groups.get(channel) : this.#byNumber(id);
    if (group === undefined) return true;
    if (pub.offset <= group.receivedBefore) return false;
    group.offset = pub.offset;
    group.epoch = pub.epoch ?? group.epoch;
    return true;
  }

  #byNumber(id: number): TrackedGroup | undefined {
    return [...this.#groups.values()].find(({ compactId }) => compactId === id);
  }
}

const positionOf = ({ isRecoverable, offset, epoch }: TrackedGroup): object =>
  isRecoverable ? { recover: true, offset, epoch } : {};

/** True when a subscription has everything since the position of the group, in the same form. */
const continues = (group: TrackedGroup, result: SubscribeBody): boolean =>
  (result.delta === true) === group.hasDeltas &&
  (!group.isRecoverable || (result.recovered === true && (group.epoch === '' || result.epoch === group.epoch)));

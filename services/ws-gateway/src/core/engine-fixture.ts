import { createMemoryBroker, type MemoryBroker } from '@muster/bus/memory-broker';
import { createMemoryPresence, type MemoryPresence } from '@muster/bus/memory-presence';
import type { Logger } from '@muster/kit/logger';
import type { ClientId, GroupName } from '@muster/protocol/ids';
import type { SessionId } from '@muster/session/token';
import { type AppCallbacks, noCallbacks } from './callbacks.ts';
import { jsonCodec } from './connection/codec.ts';
import { createEngine, type GatewayEngine, TICK_MS } from './engine.ts';
import { DEFAULT_OPTIONS, type GroupOptions, type Namespaces } from './namespaces.ts';
import type {
  AuthenticationResult,
  ClientIdentity,
  ConnectionLimits,
  EngineMetrics,
  PresentedCredential,
  SessionAuthenticator,
  SessionHolder,
  SubscriptionTokenReader,
  Wire,
  WireOwner,
} from './ports.ts';

/** A socket without a network, for tests: records written messages until they are taken. */
export class FakeWire implements Wire {
  readonly messages: string[] = [];
  owner: WireOwner | undefined;
  frames = 0;
  writes = 0;
  closed: { readonly code: number; readonly reason: string } | undefined;
  isPaused = false;
  /** Set above the send buffer's limit to simulate a client that does not read. */
  bufferedBytes = 0;
  progress = 0;
  /** False: written bytes stay buffered until {@link read}. */
  isRead = true;

  write(frame: Buffer): void {
    if (this.closed) return;
    if (!this.isRead) {
      this.bufferedBytes += frame.length;
      this.owner?.onWriteDelayed();
    }
    const payloads = payloadsOf(frame);
    this.writes += 1;
    this.frames += payloads.length;
    this.messages.push(...payloads.flatMap((payload) => payload.split('\n')));
  }
  close(code: number, reason: string): void {
    this.closed ??= { code, reason };
  }
  terminate(): void {
    this.closed ??= { code: 1006, reason: 'terminated' };
  }
  pause(): void {
    this.isPaused = true;
  }
  resume(): void {
    this.isPaused = false;
  }
  /** Simulates that the client reads so many buffered bytes. */
  read(bytes = Number.POSITIVE_INFINITY): void {
    this.bufferedBytes = Math.max(0, this.bufferedBytes - bytes);
    this.progress += 1;
  }
  /** Messages written since the last call, as JSON values. */
  take(): unknown[] {
    return this.messages.splice(0).map((text) => JSON.parse(text));
  }
}

const payloadsOf = (frames: Buffer): string[] => {
  const payloads: string[] = [];
  for (let at = 0; at < frames.length; ) {
    const short = frames.readUInt8(at + 1);
    const head = short < 126 ? 2 : short === 126 ? 4 : 10;
    const size = head === 2 ? short : head === 4 ? frames.readUInt16BE(at + 2) : frames.readUInt32BE(at + 6);
    payloads.push(frames.toString('utf8', at + head, at + head + size));
    at += head + size;
  }
  return payloads;
};

/** Authenticates `ann` and `bob`; `ended` and `away` have that result, any other token is invalid. */
export class FakeAuthenticator implements SessionAuthenticator {
  readonly holders = new Map<string, Set<SessionHolder>>();
  /** Delays the check of a session. */
  delay: Promise<void> | undefined;
  expiresAt = Number.MAX_SAFE_INTEGER;
  now = (): number => 0;

  async authenticate({ tokens }: PresentedCredential, holder: SessionHolder): Promise<AuthenticationResult> {
    const token = tokens[0];
    if (token === undefined) return { ok: false, why: 'none' };
    const identity = this.#byToken(token);
    if (identity !== undefined) return { ok: true, identity };
    if (token === 'expired' || token === 'no_user') return { ok: false, why: token };
    const id = token as SessionId;
    this.#hold(id, holder);
    await this.delay;
    if (token === 'ann' || token === 'bob') return { ok: true, identity: this.identity(id) };
    this.release(id, holder);
    if (token === 'ended') return { ok: false, why: 'ended', reason: 'logout' };
    return { ok: false, why: token === 'away' ? 'unavailable' : 'invalid' };
  }
  /** Additional fields of identities. */
  more: Partial<ClientIdentity> = {};
  identity(id: SessionId): ClientIdentity {
    return { tenant: 'default', sessionId: id, user: id, expiresAt: this.expiresAt, ...this.more };
  }
  async refresh(token: string): Promise<AuthenticationResult> {
    const identity = this.#byToken(token);
    if (identity !== undefined) return { ok: true, identity };
    return { ok: false, why: token === 'expired' ? 'expired' : token === 'away' ? 'unavailable' : 'invalid' };
  }
  /** `ann+60` is a token for 60 s, `+60` an anonymous one, `ann+60+news` has a server-side subscription to `news`. */
  #byToken(token: string): ClientIdentity | undefined {
    const [, user = '', seconds, group] = /^(\w*)\+(-?\d+)(?:\+(.+))?$/.exec(token) ?? [];
    if (seconds === undefined) return undefined;
    const subs = group === undefined ? {} : { subs: new Map([[group, {}]]) };
    return {
      ...{ tenant: 'default', sessionId: undefined, user },
      expiresAt: this.now() + Number(seconds) * 1000,
      ...subs,
    };
  }
  transfer(id: SessionId | undefined, from: SessionHolder, to: SessionHolder): void {
    this.release(id, from);
    if (id !== undefined) this.#hold(id, to);
  }
  /** Number of released holders. */
  released = 0;
  release(id: SessionId | undefined, holder: SessionHolder): void {
    this.released += 1;
    if (id !== undefined) this.holders.get(id)?.delete(holder);
  }
  end(id: string, why: string): void {
    for (const holder of [...(this.holders.get(id) ?? [])]) holder.endSession(why);
  }
  #hold(id: SessionId, holder: SessionHolder): void {
    const held = this.holders.get(id) ?? new Set();
    this.holders.set(id, held.add(holder));
  }
}

/** Records the metrics that tests assert. */
export class FakeMetrics implements EngineMetrics {
  readonly refusals: string[] = [];
  readonly disconnects: [string, number][] = [];
  readonly fanouts: number[] = [];
  received(): void {}
  receivedBytes(): void {}
  readonly deliveries: number[] = [];
  delivered(seconds: number): void {
    this.deliveries.push(seconds);
  }
  readonly lives: number[] = [];
  lived(seconds: number): void {
    this.lives.push(seconds);
  }
  recoveryTook(): void {}
  refused(reason: string): void {
    this.refusals.push(reason);
  }
  failed(): void {}
  fannedOut(recipients: number): void {
    this.fanouts.push(recipients);
  }
  sent(): void {}
  published(): void {}
  disconnected(initiator: string, code: number): void {
    this.disconnects.push([initiator, code]);
  }
  readonly slow: string[] = [];
  slowConsumer(action: string): void {
    this.slow.push(action);
  }
  readonly limited: string[] = [];
  rateLimited(scope: string): void {
    this.limited.push(scope);
  }
  heartbeat(): void {}
  heartbeatTimeout(): void {}
  readonly gaps: string[] = [];
  gap(outcome: string): void {
    this.gaps.push(outcome);
  }
  readonly recoveries: [string, number][] = [];
  recovered(result: string, publications: number): void {
    this.recoveries.push([result, publications]);
  }
}

const LIMITS: ConnectionLimits = {
  pingIntervalMs: 25_000,
  pongTimeoutMs: 8_000,
  handshakeTimeoutMs: 10_000,
  writeTimeoutMs: 20_000,
  maxMessageBytes: 65_536,
  maxSendBufferBytes: 1_048_576,
  maxPublicationBytes: 262_144,
  maxSubscriptions: 4,
  maxPresenceClients: 0,
  maxBatchAnswerBytes: 16_777_216,
  maxSubscriptionsPerSession: 0,
  maxNewGroupsPerMinute: 0,
  maxPublishedBytesPerS: 0,
  maxReadBytesPerS: 0,
  rate: { perSecond: 0, burst: 0 },
};

/** Client ids are unique over the replicas of one broker. */
const clientCounts = new WeakMap<MemoryBroker, number>();
const nextClientId = (fleet: MemoryBroker): ClientId => {
  const count = (clientCounts.get(fleet) ?? 0) + 1;
  clientCounts.set(fleet, count);
  return `client-${count}` as ClientId;
};

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

/** An engine on a memory bus, with a clock that the test advances. */
export const engineUnderTest = (
  options: {
    readonly limits?: Partial<ConnectionLimits>;
    readonly broker?: MemoryBroker;
    readonly publishBatchWindowMs?: number;
    readonly groups?: Partial<GroupOptions>;
    /** False for a group in an unknown namespace. */
    readonly isKnown?: (group: GroupName) => boolean;
    readonly presence?: MemoryPresence;
    readonly personalGroups?: string;
    readonly subscriptionTokens?: SubscriptionTokenReader;
    readonly callbacks?: AppCallbacks;
  } = {},
) => {
  const broker = options.broker ?? createMemoryBroker(() => now);
  const presence = (options.presence ?? createMemoryPresence()).connect({
    onGone: (key, _, info) => engine.onClientGone(key, info),
  });
  const authenticator = new FakeAuthenticator();
  const metrics = new FakeMetrics();
  // Groups retain nothing by default.
  const groupOptions = {
    ...DEFAULT_OPTIONS,
    retention: undefined,
    presence: false,
    keepWithoutSubscribers: true,
    ...options.groups,
  };
  const { isKnown = () => true } = options;
  const namespaces: Namespaces = { optionsOf: (group) => (isKnown(group) ? groupOptions : undefined) };
  let now = 1_000_000;
  authenticator.now = () => now;
  const engine: GatewayEngine = createEngine({
    clock: { now: () => now, monotonic: () => now },
    random: { bytes: (size) => new Uint8Array(size), fraction: () => 0.5 },
    log: silent,
    connectBus: (handlers) => broker.connect(handlers),
    authenticator,
    subscriptionTokens: options.subscriptionTokens ?? { read: async () => ({ ok: false, why: 'none' }) },
    callbacks: options.callbacks ?? noCallbacks,
    presence,
    namespaces,
    metrics,
    limits: { ...LIMITS, ...options.limits },
    publishBatchWindowMs: options.publishBatchWindowMs ?? 0,
    personalGroups: options.personalGroups,
    isTokenKeyValid: () => true,
    isTenantHost: () => true,
    gateway: 'gw-1',
    version: '0.0.0',
    newClientId: () => nextClientId(broker),
  });
  return {
    broker,
    presence,
    authenticator,
    metrics,
    engine,
    ...clientsOf(engine, authenticator),
    /** Advances the clock at once, as after a pause of the process. */
    jump: async (ms: number): Promise<void> => {
      now += ms;
      engine.tick();
      await settle();
    },
    /** Advances the clock tick by tick. */
    pass: async (ms: number): Promise<void> => {
      const end = now + ms;
      while (now < end) {
        now = Math.min(now + TICK_MS, end);
        engine.tick();
      }
      await settle();
    },
  };
};

const clientsOf = (engine: GatewayEngine, authenticator: FakeAuthenticator) => {
  const client = (token?: string) => {
    const wire = new FakeWire();
    const connection = engine.open(wire, {
      tokens: token === undefined ? [] : [token],
      origin: undefined,
      codec: jsonCodec,
    });
    const say = async (...commands: object[]): Promise<unknown[]> => {
      connection.onFrame(commands.map((command) => JSON.stringify(command)).join('\n'));
      await settle();
      return wire.take();
    };
    return { wire, connection, say };
  };
  return {
    client,
    /** A client connected as `user`. */
    connected: async (user = 'ann') => {
      const one = client();
      await one.say({ id: 1, connect: { token: user } });
      return one;
    },
    plain: async (group: string, user = 'ann') => {
      const wire = new FakeWire();
      const holder: SessionHolder = {
        endSession: () => {},
        renewSession: () => {},
        reviseSession: () => {},
      };
      const identity = authenticator.identity(user as SessionId);
      const target = { identity, group: group as GroupName, host: undefined, address: '' };
      const connection = engine.openPlain(wire, target, holder);
      await settle();
      return { wire, connection };
    },
  };
};

/** Waits until pending work in memory is done. */
export const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
};

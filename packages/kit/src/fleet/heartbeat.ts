import { after, type Clock, type Stop } from '../clock.ts';
import type { EventLoopDelay, EventLoopMonitor } from '../event-loop-delay.ts';
import type { DependencyStatus, Health, ProcessState } from '../health.ts';
import type { Logger } from '../logger.ts';
import type { RedisLink } from '../redis/channels.ts';
import { isRedisFault, type RedisConnections } from '../redis/connection.ts';
import type { Random } from '../runtime.ts';
import type { InstanceIdentity } from './instance.ts';

/** Report of a process to the registry. */
export interface HeartbeatPayload {
  readonly id: string;
  readonly service: string;
  readonly name: string;
  readonly address: string;
  readonly opsAddress: string;
  readonly version: string;
  readonly pid: number;
  /** Milliseconds since the Unix epoch. */
  readonly startedAt: number;
  readonly state: ProcessState;
  /** Event loop measurements, and figures of the service such as `connections` and `connectionsLimit`. */
  readonly load: Readonly<Record<string, number>>;
  readonly dependencies: Readonly<Record<string, DependencyStatus>>;
}

/** Redis keys of the registry of a fleet; one hash tag, thus one slot of a Redis Cluster. */
export const registryKeys = (prefix: string, fleet: string) => {
  const base = `${prefix}fleet:{${fleet}}:`;
  return {
    index: `${base}index`,
    addresses: `${base}addr`,
    events: `${base}events`,
    beat: (id: string) => `${base}beat:${id}`,
    directive: (id: string) => `${base}directive:${id}`,
    /** Clients that a rebalance has moved, by the end of their cooldown. */
    moved: `${base}moved`,
  };
};

/** A request to a process, delivered with the answer to a heartbeat. `at` is Redis time in ms: a directive is followed once. */
export type Directive =
  /** Of an operator. `drain`: accept no new clients; `resume`: accept them again. */
  | { readonly kind: 'drain' | 'resume'; readonly at: number }
  /** Of the leading aggregator, for gateways. */
  | ({ readonly kind: 'shed'; readonly at: number } & ShedRequest);

/** A part of a rebalance: moves of clients from a gateway to the others. */
export interface ShedRequest {
  /** Connections to move, at most. */
  readonly count: number;
  readonly perSecond: number;
  /** Younger connections stay. */
  readonly minAgeMs: number;
  /** Time for which a client is not moved again. */
  readonly cooldownMs: number;
}

/** A running heartbeat; disposing it removes the process from the registry. */
export interface Heartbeat extends AsyncDisposable {
  /** True after a newer process registered under the same address: this process was frozen and replaced. */
  isSuperseded(): boolean;
}

interface HeartbeatOptions {
  readonly redis: RedisConnections;
  readonly instance: InstanceIdentity;
  readonly health: Health;
  readonly load: () => Readonly<Record<string, number>>;
  /** Its measurements are part of the load. */
  readonly loop: Pick<EventLoopMonitor, 'read'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly intervalMs: number;
  readonly ttlMs: number;
  /** Called for every directive after readiness has changed; for services that migrate their clients. */
  readonly onDirective?: (directive: Directive) => void;
}

/**
 * Writes a heartbeat. The greater id (UUIDv7) of an address wins: a process that was frozen is notified that it is superseded, and a
 * restart in place leaves no stale entry.
 */
const HEARTBEAT_SCRIPT = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local owner = redis.call('HGET', KEYS[3], ARGV[2])
if owner and owner > ARGV[1] then return {'superseded', ''} end
if owner and owner ~= ARGV[1] then
  redis.call('ZREM', KEYS[2], owner)
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', 10000, '*', 'type', 'replaced', 'id', owner)
end
if owner ~= ARGV[1] then
  redis.call('HSET', KEYS[3], ARGV[2], ARGV[1])
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', 10000, '*', 'type', 'join', 'id', ARGV[1])
end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
redis.call('ZADD', KEYS[2], now, ARGV[1])
return {'ok', redis.call('GET', KEYS[5]) or ''}`;

const LEAVE_SCRIPT = `
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('HGET', KEYS[3], ARGV[2]) == ARGV[1] then redis.call('HDEL', KEYS[3], ARGV[2]) end
return redis.call('XADD', KEYS[4], 'MAXLEN', '~', 10000, '*', 'type', 'leave', 'id', ARGV[1])`;

/** Sends a heartbeat at once and every `intervalMs` ± 10 %, also while Redis is unavailable. */
export const createHeartbeat = (options: HeartbeatOptions): Heartbeat => {
  const { redis, instance, log, intervalMs, loop } = options;
  const keys = registryKeys(redis.prefix, instance.fleet);
  const names = [keys.beat(instance.id), keys.index, keys.addresses, keys.events];
  const heartbeatNames = [...names, keys.directive(instance.id)];
  const followDirective = createFollower(options);
  let stop: Stop = () => {};
  let stopped = false;
  let superseded = false;
  let failing = false;

  const send = async (lane: RedisLink) => {
    const payload = JSON.stringify(payloadOf(options, loop.read()));
    return lane.eval(
      HEARTBEAT_SCRIPT,
      heartbeatNames.length,
      ...heartbeatNames,
      instance.id,
      instance.address,
      payload,
      options.ttlMs,
    );
  };
  const report = (error?: unknown) => {
    if (error !== undefined && !isRedisFault(error)) log.error({ error }, 'heartbeat.failed');
    const fails = error !== undefined;
    if (fails && !failing) log.warn({ error }, 'heartbeat.interrupted');
    if (!fails && failing) log.info({}, 'heartbeat.resumed');
    failing = fails;
  };
  const beat = async () => {
    let followed = false;
    try {
      const [answer, directive] = (await redis.retry(send)) as [string, string];
      if (answer === 'superseded' && !superseded) log.warn({ address: instance.address }, 'heartbeat.superseded');
      superseded = answer === 'superseded';
      followed = followDirective(parseDirective(directive));
      report();
    } catch (error) {
      report(error);
    }
    // The registry should have the new state before a probe reads it.
    const pauseMs = followed ? 0 : intervalMs * (0.9 + 0.2 * options.random.fraction());
    if (!stopped) stop = after(pauseMs, () => void beat());
  };
  void beat();

  return {
    isSuperseded: () => superseded,
    [Symbol.asyncDispose]: async () => {
      if (stopped) return;
      stopped = true;
      stop();
      await redis
        .lane()
        .eval(LEAVE_SCRIPT, names.length, ...names, instance.id, instance.address)
        .catch(() => {}); // The heartbeat expires by itself.
    },
  };
};

/** Follows each directive once, readiness first; returns true when readiness may have changed. */
const createFollower = ({ health, log, onDirective }: HeartbeatOptions) => {
  let followed = 0;
  return (directive: Directive | undefined): boolean => {
    if (directive === undefined || directive.at <= followed) return false;
    followed = directive.at;
    if (directive.kind !== 'shed') log.warn({ kind: directive.kind }, 'heartbeat.directive_received');
    if (directive.kind === 'drain') health.withdraw();
    if (directive.kind === 'resume') health.restore();
    onDirective?.(directive);
    return directive.kind !== 'shed';
  };
};

const parseDirective = (text: string): Directive | undefined => {
  try {
    const directive = JSON.parse(text) as Partial<Directive>;
    const { kind, at } = directive;
    if (typeof at !== 'number') return undefined;
    if (kind === 'drain' || kind === 'resume') return { kind, at };
    return kind === 'shed' && SHED_FIELDS.every((field) => isCount((directive as Partial<ShedRequest>)[field]))
      ? (directive as Directive)
      : undefined;
  } catch {
    return undefined; // No directive, or written by another program.
  }
};

const SHED_FIELDS = ['count', 'perSecond', 'minAgeMs', 'cooldownMs'] as const;
const isCount = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value) && value >= 0;

const payloadOf = ({ instance, health, load }: HeartbeatOptions, loop: EventLoopDelay): HeartbeatPayload => ({
  id: instance.id,
  service: instance.service,
  name: instance.name,
  address: instance.address,
  opsAddress: instance.opsAddress,
  version: instance.version,
  pid: process.pid,
  startedAt: instance.startedAt,
  state: health.state(),
  load: { ...loop, ...load() },
  dependencies: health.dependencies(),
});

import { after, type Clock, type Stop } from '../clock.ts';
import { type EventLoopDelay, monitorEventLoop } from '../event-loop-delay.ts';
import type { DependencyStatus, Health, ProcessState } from '../health.ts';
import type { Logger } from '../logger.ts';
import type { RedisLink } from '../redis/channels.ts';
import { isRedisFault, type RedisConnections } from '../redis/connection.ts';
import type { Random } from '../runtime.ts';
import type { InstanceIdentity } from './instance.ts';

/** What a process says of itself every few seconds. */
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
  /** How the event loop does, and numbers of the service's own choice, such as `connections` and `connectionsLimit`. */
  readonly load: Readonly<Record<string, number>>;
  readonly dependencies: Readonly<Record<string, DependencyStatus>>;
}

/** The keys of a fleet's registry; one hash tag, so one slot of a Redis Cluster. */
export const registryKeys = (prefix: string, fleet: string) => {
  const base = `${prefix}fleet:{${fleet}}:`;
  return {
    index: `${base}index`,
    addresses: `${base}addr`,
    events: `${base}events`,
    beat: (id: string) => `${base}beat:${id}`,
    directive: (id: string) => `${base}directive:${id}`,
  };
};

/** What an operator wants of a process; it comes back with the answer to a beat. */
export interface Directive {
  /** `drain`: take no new clients; `resume`: take them again. */
  readonly kind: 'drain' | 'resume';
  /** Redis time in ms; one directive has one, so a directive that is read twice counts once. */
  readonly at: number;
}

/** A running heartbeat; disposing it takes the process out of the registry. */
export interface Heartbeat extends AsyncDisposable {
  /** True when a newer process has taken this one's address: it was frozen and has been replaced. */
  isSuperseded(): boolean;
}

interface HeartbeatOptions {
  readonly redis: RedisConnections;
  readonly instance: InstanceIdentity;
  readonly health: Health;
  readonly load: () => Readonly<Record<string, number>>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly intervalMs: number;
  readonly ttlMs: number;
  /** Told of every directive after readiness has followed it; for services that hand their clients over. */
  readonly onDirective?: (directive: Directive) => void;
}

/**
 * One beat. A greater id on the same address wins (ids are UUIDv7): a process that was frozen and wakes up
 * learns that it has been replaced, and a restart in place leaves no ghost.
 */
const BEAT_SCRIPT = `
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

/** Beats now and then every `intervalMs` ± 10 %. While Redis is away it goes on trying at the same pace. */
export const createHeartbeat = (options: HeartbeatOptions): Heartbeat => {
  const { redis, instance, log, intervalMs } = options;
  const keys = registryKeys(redis.prefix, instance.fleet);
  const names = [keys.beat(instance.id), keys.index, keys.addresses, keys.events];
  const beatNames = [...names, keys.directive(instance.id)];
  const obey = createFollower(options);
  const loop = monitorEventLoop(intervalMs);
  let stop: Stop = () => {};
  let stopped = false;
  let superseded = false;
  let failing = false;

  const send = async (lane: RedisLink) => {
    const payload = JSON.stringify(payloadOf(options, loop.read()));
    return lane.eval(
      BEAT_SCRIPT,
      beatNames.length,
      ...beatNames,
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
      if (answer === 'superseded' && !superseded)
        log.warn({ address: instance.address }, 'heartbeat.superseded');
      superseded = answer === 'superseded';
      followed = obey(parseDirective(directive));
      report();
    } catch (error) {
      report(error);
    }
    // The registry should hear of a new state before a probe does.
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
      loop[Symbol.dispose]();
      await redis
        .lane()
        .eval(LEAVE_SCRIPT, names.length, ...names, instance.id, instance.address)
        .catch(() => {}); // Its beat expires by itself.
    },
  };
};

/** Follows each directive once, and answers whether it did: readiness first, then whatever else the service does. */
const createFollower = ({ health, log, onDirective }: HeartbeatOptions) => {
  let followed = 0;
  return (directive: Directive | undefined): boolean => {
    if (directive === undefined || directive.at <= followed) return false;
    followed = directive.at;
    log.warn({ kind: directive.kind }, 'heartbeat.directive_received');
    if (directive.kind === 'drain') health.withdraw();
    else health.restore();
    onDirective?.(directive);
    return true;
  };
};

const parseDirective = (text: string): Directive | undefined => {
  try {
    const { kind, at } = JSON.parse(text) as Partial<Directive>;
    return (kind === 'drain' || kind === 'resume') && typeof at === 'number' ? { kind, at } : undefined;
  } catch {
    return undefined; // None, or not one of ours.
  }
};

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

/** What an instance says about something it depends on, as it travels in heartbeats and health bodies. */
export interface DependencyReading {
  readonly status: 'up' | 'down' | 'unknown';
  readonly latencyMs?: number;
  /** How long it had been so when this was said, ms. */
  readonly forMs?: number;
  /** Why it is down, as a code such as `timeout` or `permission`. */
  readonly reason?: string;
}

/** What an instance says about itself. `beatAt` is the registry's own time (ms), so clocks of hosts do not matter. */
export interface ObservedHeartbeat {
  readonly id: string;
  readonly service: string;
  readonly name: string;
  readonly address: string;
  readonly opsAddress: string;
  readonly version: string;
  /** ms since epoch, by the clock of the instance. */
  readonly startedAt: number;
  readonly state: 'starting' | 'ready' | 'degraded' | 'draining';
  readonly load: Readonly<Record<string, number>>;
  readonly dependencies: Readonly<Record<string, DependencyReading>>;
  readonly beatAt: number;
}

/** One reading of the registry: its time, every instance that has a live heartbeat, and every one that has not left. */
export interface RegistryReading {
  readonly now: number;
  readonly heartbeats: readonly ObservedHeartbeat[];
  /** Ids in the index: an instance that leaves is taken out of it, one that dies is not. */
  readonly ids: ReadonlySet<string>;
}

/** How a probe ended. `refused` and `reset` are hard evidence of a dead process, the others are soft. */
export type ProbeOutcome =
  | 'ok'
  | 'timeout'
  | 'refused'
  | 'reset'
  | 'unready'
  | 'http_error'
  | 'bad_body'
  | 'no_socket'
  | 'unreachable';

/** The end of one probe. `dependencies` is what the instance's own health body said, if it was read. */
export interface ProbeResult {
  readonly outcome: ProbeOutcome;
  readonly durationMs: number;
  /** The state that its health body named, if it was read. */
  readonly state?: ObservedHeartbeat['state'];
  readonly dependencies?: Readonly<Record<string, DependencyReading>>;
}

/** Something to probe: `periodMs` changes with the state of the instance. */
export interface ProbeTarget {
  readonly id: string;
  readonly service: string;
  readonly address: string;
  readonly opsAddress: string;
  /** True when heartbeats do not tell enough: then the instance's own health body is read too. */
  readonly wantsDetail: boolean;
  readonly periodMs: number;
}

/** Asks one instance whether it is ready; never rejects, every failure is an outcome. */
export type Probe = (target: ProbeTarget) => Promise<ProbeResult>;

/** The states an instance can be in, as everybody sees them. */
export const INSTANCE_STATES = ['starting', 'up', 'degraded', 'suspect', 'down', 'draining', 'gone'] as const;
export type InstanceState = (typeof INSTANCE_STATES)[number];

/** A change of state of one instance, with the code of its cause. */
export interface Transition {
  readonly id: string;
  readonly service: string;
  readonly name: string;
  readonly from: InstanceState;
  readonly to: InstanceState;
  readonly why: string;
  /** How long after the last good evidence the change was noticed, ms. */
  readonly afterMs: number;
}

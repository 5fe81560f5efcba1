/** Report of an instance on a dependency, in heartbeats and health bodies. */
export interface DependencyReading {
  readonly status: 'up' | 'down' | 'unknown';
  readonly latencyMs?: number;
  /** ms since the status changed, at the time of the report. */
  readonly forMs?: number;
  /** Code of the cause, such as `timeout` or `permission`. */
  readonly reason?: string;
}

/** A heartbeat. `beatAt` is in ms of Redis time, so the clocks of hosts do not matter. */
export interface ObservedHeartbeat {
  readonly id: string;
  readonly service: string;
  readonly name: string;
  readonly address: string;
  readonly opsAddress: string;
  readonly version: string;
  /** ms since the epoch, by the clock of the instance. */
  readonly startedAt: number;
  readonly state: 'starting' | 'ready' | 'degraded' | 'draining';
  readonly load: Readonly<Record<string, number>>;
  readonly dependencies: Readonly<Record<string, DependencyReading>>;
  readonly beatAt: number;
}

/** One read of the registry: its time, the live heartbeats, and the index. */
export interface RegistryReading {
  readonly now: number;
  readonly heartbeats: readonly ObservedHeartbeat[];
  /** Ids in the index: an orderly leave removes an instance from it, a crash does not. */
  readonly ids: ReadonlySet<string>;
}

/** Outcome of a probe. `refused` and `reset` are hard evidence of a dead process, the other failures are soft. */
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

/** Result of a probe. `dependencies` come from the health body of the instance, if it was read. */
export interface ProbeResult {
  readonly outcome: ProbeOutcome;
  readonly durationMs: number;
  /** State in the health body, if it was read. */
  readonly state?: ObservedHeartbeat['state'];
  readonly dependencies?: Readonly<Record<string, DependencyReading>>;
}

/** An instance to probe; `periodMs` changes with its state. */
export interface ProbeTarget {
  readonly id: string;
  readonly service: string;
  readonly address: string;
  readonly opsAddress: string;
  /** True when heartbeats are not sufficient: the health body of the instance is read too. */
  readonly wantsDetail: boolean;
  readonly periodMs: number;
}

/** Probes the readiness of an instance. Never rejects: every failure is an outcome. */
export type Probe = (target: ProbeTarget) => Promise<ProbeResult>;

/** States of an instance. */
export const INSTANCE_STATES = ['starting', 'up', 'degraded', 'suspect', 'down', 'draining', 'gone'] as const;
export type InstanceState = (typeof INSTANCE_STATES)[number];

/** A state transition of an instance, with the code of its cause. */
export interface Transition {
  readonly id: string;
  readonly service: string;
  readonly name: string;
  readonly from: InstanceState;
  readonly to: InstanceState;
  readonly why: string;
  /** Time from the last good evidence to the transition, ms. */
  readonly afterMs: number;
}
